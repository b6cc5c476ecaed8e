//! Checks of indices, if CubeCL is configured to check them.

use cubecl::{
    io::{expand_checked_index, expand_validate_index},
    ir::{
        ElemType, Scope,
        dialect::memory::IndexOp,
        pliron::{
            context::{Context, Ptr},
            irbuild::match_rewrite::{
                MatchRewrite, MatchRewriter, RewriterOrder, apply_match_rewrite,
            },
            op::Op,
            operation::Operation,
            pass::{AnalysisManager, Pass},
            result::Result,
            r#type::Typed,
        },
        prelude::*,
        settings::ExecutionMode,
        types::{PointerType, RuntimeArrayType},
    },
    prelude::{CubeKernel, KernelDefinition, KernelId, KernelMetadata},
};
use cubecl_opt::passes::sroa::SROAPass;

/// A kernel whose indices into buffers are checked if its execution mode asks for it.
///
/// CubeCL 0.11.3 has a pass for that, `CheckedIo`. It finds no index, because it looks for indices into arrays
/// where there are pointers to arrays. Besides, the compilers that go through LLVM, such as the one for CPUs, do
/// not run it.
pub struct Checked<K>(pub K);

impl<K: CubeKernel> KernelMetadata for Checked<K> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn id(&self) -> KernelId {
        self.0.id()
    }

    fn address_type(&self) -> ElemType {
        self.0.address_type()
    }
}

impl<K: CubeKernel> CubeKernel for Checked<K> {
    fn define(&self) -> KernelDefinition {
        let kernel = self.0.define();
        if kernel.settings.execution_mode != ExecutionMode::Unchecked {
            check(&kernel).unwrap_or_else(|error| panic!("indices cannot be checked: {error}"));
        }
        kernel
    }
}

fn check(kernel: &KernelDefinition) -> Result<()> {
    let entry = kernel.body.state().entry_func.get_operation();
    let ctx = kernel.body.ctx_mut();
    // Buffers come as slices, which this pass takes apart.
    SROAPass.run(entry, ctx, &mut AnalysisManager::default())?;
    let mut checks = Checks {
        mode: kernel.settings.execution_mode,
        kernel: kernel.settings.kernel_name.clone(),
    };
    apply_match_rewrite(ctx, &mut checks, RewriterOrder::default(), entry)?;
    Ok(())
}

struct Checks {
    mode: ExecutionMode,
    kernel: String,
}

impl MatchRewrite for Checks {
    fn r#match(&mut self, ctx: &Context, op: Ptr<Operation>) -> bool {
        let Some(index) = Operation::get_op::<IndexOp>(op, ctx) else {
            return false;
        };
        let base = index.base(ctx).get_type(ctx).deref(ctx);
        let pointee = base.downcast_ref::<PointerType>().map(|base| base.inner);
        index.checked(ctx)
            && pointee.is_some_and(|pointee| pointee.deref(ctx).is::<RuntimeArrayType>())
    }

    fn rewrite(
        &mut self,
        ctx: &mut Context,
        rewriter: &mut MatchRewriter,
        op: Ptr<Operation>,
    ) -> Result<()> {
        let index = Operation::get_op::<IndexOp>(op, ctx).expect("it matches");
        let (base, at) = (index.base(ctx), index.index(ctx));
        let scope = Scope::from_context_and_inserter(ctx, rewriter);
        let value = match self.mode {
            ExecutionMode::Checked => expand_checked_index(&scope, base, at),
            ExecutionMode::Validate => expand_validate_index(&scope, base, at, &self.kernel),
            ExecutionMode::Unchecked => return Ok(()),
        };
        rewriter.replace_operation_with_values(ctx, op, vec![value]);
        Ok(())
    }
}
