//! The translation of a function: its registers, labels and operands.

use std::collections::HashMap;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, F64, I8, I16, I32, I64, I128};
use cranelift_codegen::ir::{self, Block, FuncRef, InstBuilder, Value};
use cranelift_frontend::{FunctionBuilder, Variable as Slot};
use cranelift_jit::JITModule;
use cranelift_module::{FuncId, Linkage, Module as _};

use super::Places;
use super::helpers;
use crate::ptx::{Function, Instruction, Operand, Space, Statement, Type};

/// The reason why an instruction cannot be translated.
#[derive(Debug)]
pub struct Fault {
    /// The line of the instruction.
    pub line: u32,
    /// The reason.
    pub message: String,
}

impl Fault {
    /// A fault without a line. The line is filled in later.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            line: 0,
            message: message.into(),
        }
    }
}

/// The result of the functions of the translator.
pub type Translated<T> = Result<T, Fault>;

/// A label and its block.
struct Label {
    block: Block,
    /// The number of branches to the label, and of ways into it from above, that are not translated yet.
    ways: usize,
    /// Whether the code of the label has been started, so that further branches to it go back.
    placed: bool,
}

/// The place of an argument, of a result, or of a variable that passes arguments to a call.
#[derive(Clone, Copy)]
pub enum Frame {
    /// An argument of a kernel: its offset in the arguments, and its size.
    Argument(u32, u32),
    /// An argument or the result of another function: a pointer to it, and its size.
    Passed(Value, u32),
    /// A variable that passes an argument to a call, or gets its result: its slot, and its size.
    Passing(ir::StackSlot, u32),
}

/// Translates a function.
pub struct Translator<'a> {
    pub(super) builder: FunctionBuilder<'a>,
    pub(super) code: &'a mut JITModule,
    pub(super) function: &'a Function,
    pub(super) functions: &'a HashMap<String, (FuncId, Function)>,
    pub(super) places: &'a Places,
    pub(super) unit: Value,
    /// The line of the current instruction.
    pub(super) line: u32,
    /// The size in bytes of the smallest value that is read or written in shared or global memory so far.
    pub(super) smallest: u32,
    pub(super) frames: HashMap<String, Frame>,
    /// The registers as variables of Cranelift, and their types on the host.
    pub(super) slots: Vec<Slot>,
    pub(super) kinds: Vec<ir::Type>,
    labels: HashMap<String, Label>,
    helpers: HashMap<&'static str, FuncRef>,
}

/// The host type for values of a type.
pub fn host(of: Type) -> ir::Type {
    match of {
        Type::F32 => F32,
        Type::F64 => F64,
        _ => match of.bits() {
            1 | 8 => I8,
            16 => I16,
            32 => I32,
            64 => I64,
            _ => I128,
        },
    }
}

/// The host type of each register: a floating-point type if more instructions use it as a float than as another type.
fn kinds(function: &Function) -> Vec<ir::Type> {
    let mut votes = vec![0i32; function.registers.len()];
    for statement in &function.body {
        let Statement::Instruction(instruction) = statement else {
            continue;
        };
        let last = instruction.parts.last().and_then(|part| Type::of(part));
        let by = match last {
            Some(of) if of.is_float() => 1,
            // An instruction that only moves bits has no vote.
            Some(Type::B(_)) => 0,
            _ => -1,
        };
        for operand in &instruction.operands {
            if let Operand::Register(register) = operand {
                votes[*register] += by;
            }
        }
    }
    let kind = |(of, votes): (&Type, i32)| match (of.bits(), votes > 0) {
        (32, true) => F32,
        (64, true) => F64,
        _ => host(match of {
            Type::F32 => Type::B(32),
            Type::F64 => Type::B(64),
            other => *other,
        }),
    };
    function.registers.iter().zip(votes).map(kind).collect()
}

impl<'a> Translator<'a> {
    /// A translator for `function`.
    pub fn new(
        mut builder: FunctionBuilder<'a>,
        code: &'a mut JITModule,
        function: &'a Function,
        functions: &'a HashMap<String, (FuncId, Function)>,
        places: &'a Places,
    ) -> Self {
        let entry = builder.create_block();
        builder.append_block_params_for_function_params(entry);
        builder.switch_to_block(entry);
        builder.seal_block(entry);
        let unit = builder.block_params(entry)[0];
        Self {
            builder,
            code,
            function,
            functions,
            places,
            unit,
            line: 1,
            smallest: 16,
            frames: HashMap::new(),
            slots: Vec::new(),
            kinds: kinds(function),
            labels: HashMap::new(),
            helpers: HashMap::new(),
        }
    }

    /// Translates the function.
    ///
    /// Gives the size in bytes of the smallest value that it reads or writes in shared or global memory.
    pub fn translate(mut self) -> Translated<u32> {
        match self.body() {
            Ok(()) => {
                let smallest = self.smallest;
                let config = self.code.target_config();
                self.builder.seal_all_blocks();
                self.builder.finalize(config);
                Ok(smallest)
            }
            Err(mut fault) => {
                fault.line = self.line;
                Err(fault)
            }
        }
    }

    fn body(&mut self) -> Translated<()> {
        let function = self.function;
        self.frame();
        for (kind, of) in self.kinds.clone().into_iter().zip(&function.registers) {
            let slot = self.builder.declare_var(kind);
            self.slots.push(slot);
            // A register that no instruction has set has the bits of fresh memory.
            let fresh = match of {
                Type::Pred => self.integer(I8, 1),
                _ => self.fresh(kind),
            };
            self.builder.def_var(slot, fresh);
        }
        for statement in &function.body {
            match statement {
                Statement::Label(name) => {
                    let block = self.builder.create_block();
                    let label = Label {
                        block,
                        ways: 1,
                        placed: false,
                    };
                    self.labels.insert(name.clone(), label);
                }
                Statement::Instruction(_) => {}
            }
        }
        for statement in &function.body {
            if let Statement::Instruction(instruction) = statement {
                for operand in &instruction.operands {
                    if let Operand::Name(name) = operand
                        && let Some(label) = self.labels.get_mut(name)
                    {
                        label.ways += 1;
                    }
                }
            }
        }
        for statement in &function.body {
            match statement {
                Statement::Label(name) => {
                    let block = self.way(name)?;
                    self.builder.ins().jump(block, &[]);
                    self.builder.switch_to_block(block);
                    self.seal(name);
                    if let Some(label) = self.labels.get_mut(name) {
                        label.placed = true;
                    }
                }
                Statement::Instruction(instruction) => {
                    self.line = instruction.line;
                    self.instruction(instruction)?;
                }
            }
        }
        self.builder.ins().return_(&[]);
        Ok(())
    }

    fn fresh(&mut self, kind: ir::Type) -> Value {
        match kind {
            F32 => self.builder.ins().f32const(f32::from_bits(!0)),
            F64 => self.builder.ins().f64const(f64::from_bits(!0)),
            I128 => {
                let half = self.builder.ins().iconst(I64, -1);
                self.builder.ins().iconcat(half, half)
            }
            other => self.integer(other, -1),
        }
    }

    /// Notes where the arguments are, and makes room for arguments of calls.
    fn frame(&mut self) {
        let function = self.function;
        if function.kernel {
            let mut end = 0u32;
            for param in &function.params {
                let place = end.next_multiple_of(param.align);
                end = place + param.size;
                let frame = Frame::Argument(place, param.size);
                self.frames.insert(param.name.clone(), frame);
            }
        } else {
            let entry = self.builder.current_block();
            let passed = entry.map(|entry| self.builder.block_params(entry).to_vec());
            let variables = function.result.iter().chain(&function.params);
            for (variable, value) in variables.zip(passed.iter().flatten().skip(1)) {
                let frame = Frame::Passed(*value, variable.size);
                self.frames.insert(variable.name.clone(), frame);
            }
        }
        for variable in &function.variables {
            if variable.space == Space::Param {
                let data = ir::StackSlotData::new(
                    ir::StackSlotKind::ExplicitSlot,
                    variable.size.max(1),
                    4,
                );
                let slot = self.builder.create_sized_stack_slot(data);
                let frame = Frame::Passing(slot, variable.size);
                self.frames.insert(variable.name.clone(), frame);
            }
        }
    }

    /// The block of a label. Counts one of the ways to it as translated.
    pub(super) fn way(&mut self, name: &str) -> Translated<Block> {
        let label = self.labels.get_mut(name);
        let label = label.ok_or_else(|| Fault::new(format!("there is no label '{name}'")))?;
        label.ways -= 1;
        Ok(label.block)
    }

    /// Whether a branch to the label goes backward.
    pub(super) fn is_behind(&self, name: &str) -> bool {
        self.labels.get(name).is_some_and(|label| label.placed)
    }

    /// Seals the block of a label if all ways to it are translated.
    pub(super) fn seal(&mut self, name: &str) {
        if let Some(label) = self.labels.get(name)
            && label.ways == 0
        {
            self.builder.seal_block(label.block);
        }
    }

    fn instruction(&mut self, instruction: &Instruction) -> Translated<()> {
        let Some(guard) = instruction.guard else {
            return self.unguarded(instruction);
        };
        if instruction.parts[0] == "bra" {
            return self.branch(instruction);
        }
        let (then, after) = (self.builder.create_block(), self.builder.create_block());
        let condition = self.raw(guard.register);
        let (yes, no) = if guard.negated {
            (after, then)
        } else {
            (then, after)
        };
        self.builder.ins().brif(condition, yes, &[], no, &[]);
        self.builder.switch_to_block(then);
        self.builder.seal_block(then);
        self.unguarded(instruction)?;
        self.builder.ins().jump(after, &[]);
        self.builder.switch_to_block(after);
        self.builder.seal_block(after);
        Ok(())
    }

    fn unguarded(&mut self, instruction: &Instruction) -> Translated<()> {
        match instruction.parts[0].as_str() {
            "bra" => self.branch(instruction),
            "ret" | "exit" | "trap" | "call" | "membar" | "fence" | "bar" | "barrier" => {
                self.control(instruction)
            }
            "ld" | "ldu" | "st" | "atom" | "red" | "cvta" | "prefetch" => self.memory(instruction),
            "mov" | "selp" | "and" | "or" | "xor" | "not" | "cnot" | "shl" | "shr" | "shf"
            | "lop3" | "prmt" | "bfe" | "bfi" | "popc" | "clz" | "brev" | "bfind" => {
                self.bits(instruction)
            }
            "setp" | "set" | "testp" => self.comparison(instruction),
            "cvt" => self.conversion(instruction),
            "shfl" | "vote" | "elect" | "match" | "redux" | "activemask" => self.plane(instruction),
            "wmma" => self.matrix(instruction),
            "mma" | "ldmatrix" | "stmatrix" | "wgmma" | "tcgen05" | "mbarrier" | "cp" => {
                Err(unknown(instruction))
            }
            _ => self.arithmetic(instruction),
        }
    }

    /// Calls a helper function of the machine. The arguments must have the types that the helper declares.
    pub(super) fn help(
        &mut self,
        name: &'static str,
        arguments: &[Value],
    ) -> Translated<Option<Value>> {
        let function = match self.helpers.get(name) {
            Some(function) => *function,
            None => {
                let helper = helpers::all()
                    .into_iter()
                    .find(|helper| helper.name == name);
                let helper = helper.ok_or_else(|| Fault::new(format!("no helper '{name}'")))?;
                let mut signature = self.code.make_signature();
                let param = |of: &ir::Type| ir::AbiParam::new(*of);
                signature.params = helper.takes.iter().map(param).collect();
                signature.returns = helper.gives.iter().map(param).collect();
                let id = self
                    .code
                    .declare_function(name, Linkage::Import, &signature)
                    .map_err(|e| Fault::new(e.to_string()))?;
                let function = self.code.declare_func_in_func(id, self.builder.func);
                self.helpers.insert(name, function);
                function
            }
        };
        let call = self.builder.ins().call(function, arguments);
        Ok(self.builder.inst_results(call).first().copied())
    }

    /// Calls a helper function that gives a value.
    pub(super) fn helped(&mut self, name: &'static str, arguments: &[Value]) -> Translated<Value> {
        self.help(name, arguments)?
            .ok_or_else(|| Fault::new(format!("'{name}' gives nothing")))
    }

    /// The line of the current instruction, for messages of the machine.
    pub(super) fn here(&mut self) -> Value {
        self.integer(I32, i64::from(self.line))
    }

    /// A comparison of integers, as a predicate.
    pub(super) fn icmp(&mut self, how: IntCC, a: Value, b: Value) -> Value {
        self.builder.ins().icmp(how, a, b)
    }
}

/// The error for an unknown instruction.
pub fn unknown(instruction: &Instruction) -> Fault {
    Fault::new(format!(
        "the instruction '{}' is not known",
        instruction.name()
    ))
}

/// The operands, if there are exactly `N`.
pub fn operands<const N: usize>(instruction: &Instruction) -> Translated<&[Operand; N]> {
    let all: Result<&[Operand; N], _> = instruction.operands.as_slice().try_into();
    all.map_err(|_| {
        let (name, count) = (instruction.name(), instruction.operands.len());
        Fault::new(format!("'{name}' takes {N} operands, not {count}"))
    })
}
