//! Instructions of NVIDIA's cards that CubeCL has no operations for.
//!
//! Both compilers of the CUDA runtime take inline assembly, but the default one cannot lower CubeCL's
//! own operation for it. Hence this module has an operation that both lower.

#[cfg(not(feature = "ptx"))]
use cubecl::ir::{Scope, pliron::value::Value};
use cubecl::{intrinsic, prelude::*};

/// Whether the instructions can be used, for which the feature `ptx` must be on.
pub const PRESENT: bool = cfg!(feature = "ptx");

/// $2^x$ with a relative error of $2^{-22}$. Results below $2^{-126}$ are 0.
#[cube]
#[allow(unused_variables)]
pub fn exp2(x: f32) -> f32 {
    intrinsic!(|scope| {
        let x = x.value(scope);
        instruction(scope, "ex2.approx.ftz.f32 $0, $1;", vec![x]).into()
    })
}

/// `a * b + c`, clamped to the range from 0 to 1. NaN becomes 0.
#[cube]
#[allow(unused_variables)]
pub fn fma_saturated(a: f32, b: f32, c: f32) -> f32 {
    intrinsic!(|scope| {
        let operands = vec![a.value(scope), b.value(scope), c.value(scope)];
        instruction(scope, "fma.rn.sat.f32 $0, $1, $2, $3;", operands).into()
    })
}

#[cfg(feature = "ptx")]
use present::instruction;

#[cfg(not(feature = "ptx"))]
fn instruction(_: &Scope, text: &str, _: Vec<Value>) -> Value {
    unreachable!("{text} is not planned without the feature `ptx`")
}

#[cfg(feature = "ptx")]
mod present {
    use cubecl::ir::{
        Pure, Scope,
        pliron::{self, builtin::attributes::StringAttr},
        prelude::*,
    };
    use cubecl_cpp::{cuda::ptx::InlinePtxOp, shared::lowering::LowerOp, target::Cuda};
    use cubecl_llvm::shared::to_llvm::ToLLVMDialect;
    use pliron_llvm::ops::InlineAsmOp;

    /// An instruction without side effects on values of type `f32`: `$0` is the result, `$1` and so on
    /// are the operands.
    #[pliron_op(
        name = "lazy.ptx",
        format,
        interfaces = [OneResultInterface],
        attributes = (lazy_ptx_text: StringAttr),
        verifier = "succ"
    )]
    #[op_traits(Pure)]
    struct PtxOp;

    impl PtxOp {
        fn new(ctx: &mut Context, text: &str, operands: Vec<Value>) -> Self {
            let result = operands[0].get_type(ctx);
            let info = Self::get_concrete_op_info();
            let op = Operation::new(ctx, info, vec![result], operands, vec![], 0);
            let op = Self { op };
            op.set_attr_lazy_ptx_text(ctx, StringAttr::new(text.to_string()));
            op
        }

        fn text(&self, ctx: &Context) -> String {
            let text = self.get_attr_lazy_ptx_text(ctx);
            text.expect("it is made with a text").as_str().to_string()
        }

        fn operands(&self, ctx: &Context) -> Vec<Value> {
            self.get_operation().deref(ctx).operands().collect()
        }
    }

    #[op_interface_impl]
    impl ToLLVMDialect for PtxOp {
        fn rewrite(
            &self,
            ctx: &mut Context,
            rewriter: &mut DialectConversionRewriter,
            _operands_info: &OperandsInfo,
        ) -> Result<()> {
            let (text, operands) = (self.text(ctx), self.operands(ctx));
            // The operands are lowered already, but the result is not, so the type is that of an operand.
            let result = operands[0].get_type(ctx);
            let constraints = "=f".to_string() + &",f".repeat(operands.len());
            let op = InlineAsmOp::new(ctx, result, operands, &text, &constraints, false);
            rewriter.insert_op(ctx, &op);
            let value = op.get_result(ctx);
            rewriter.replace_operation_with_values(ctx, self.get_operation(), vec![value]);
            Ok(())
        }
    }

    #[op_interface_impl]
    impl LowerOp<Cuda> for PtxOp {
        fn lower(&self, scope: &Scope) -> Vec<Value> {
            let ctx = scope.ctx_mut();
            let (text, operands) = (self.text(ctx), self.operands(ctx));
            let result = self.get_result(ctx).get_type(ctx);
            let op = InlinePtxOp::new(ctx, Some(result), text, operands);
            scope.register(&op);
            op.result(ctx).into_iter().collect()
        }
    }

    pub fn instruction(scope: &Scope, text: &str, operands: Vec<Value>) -> Value {
        let op = PtxOp::new(scope.ctx_mut(), text, operands);
        scope.register_with_result(&op)
    }
}
