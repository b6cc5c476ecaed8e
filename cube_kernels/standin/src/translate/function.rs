//! A function: its registers, labels and operands.

use std::collections::HashMap;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, F64, I8, I16, I32, I64, I128};
use cranelift_codegen::ir::{self, Block, FuncRef, InstBuilder, MemFlagsData as MemFlags, Value};
use cranelift_frontend::{FunctionBuilder, Variable as Slot};
use cranelift_jit::JITModule;
use cranelift_module::{FuncId, Linkage, Module as _};

use super::Places;
use super::helpers;
use crate::machine::{SHARED_WINDOW, Unit};
use crate::ptx::{Function, Instruction, Operand, Register, Space, Statement, Type};

/// Why an instruction is not translated.
#[derive(Debug)]
pub struct Fault {
    /// Its line.
    pub line: u32,
    /// The reason.
    pub message: String,
}

impl Fault {
    /// With a line that is filled in later.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            line: 0,
            message: message.into(),
        }
    }
}

/// What most of this gives.
pub type Translated<T> = Result<T, Fault>;

/// A place to branch to.
struct Label {
    block: Block,
    /// Ways to it that are still to come.
    ways: usize,
}

/// What an address of a variable in the frame of a function is: its place there.
#[derive(Clone, Copy)]
pub enum Frame {
    /// An argument of a kernel, at an offset of all of them.
    Argument(u32, u32),
    /// An argument or the result of another function: a pointer, and its size.
    Passed(Value, u32),
    /// A variable by which arguments are passed on, and its size.
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
    /// The line of the instruction at hand.
    pub(super) line: u32,
    pub(super) frames: HashMap<String, Frame>,
    slots: Vec<Slot>,
    kinds: Vec<ir::Type>,
    labels: HashMap<String, Label>,
    helpers: HashMap<&'static str, FuncRef>,
}

/// The type of the host for a value of this type.
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

/// The type of each register on the host: that of floating-point numbers where most instructions take it as one.
fn kinds(function: &Function) -> Vec<ir::Type> {
    let mut votes = vec![0i32; function.registers.len()];
    for statement in &function.body {
        let Statement::Instruction(instruction) = statement else {
            continue;
        };
        let last = instruction.parts.last().and_then(|part| Type::of(part));
        let by = match last {
            Some(of) if of.is_float() => 1,
            // Moved as it is.
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
    /// A translator of `function`.
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
            frames: HashMap::new(),
            slots: Vec::new(),
            kinds: kinds(function),
            labels: HashMap::new(),
            helpers: HashMap::new(),
        }
    }

    /// Translates all of it.
    pub fn translate(mut self) -> Translated<()> {
        match self.body() {
            Ok(()) => {
                let config = self.code.target_config();
                self.builder.seal_all_blocks();
                self.builder.finalize(config);
                Ok(())
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
            // What no instruction has set is as fresh memory is.
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
                    self.labels.insert(name.clone(), Label { block, ways: 1 });
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

    /// Where the arguments are, and room for those that are passed on.
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

    /// The block of a label, to which one more way leads now.
    pub(super) fn way(&mut self, name: &str) -> Translated<Block> {
        let label = self.labels.get_mut(name);
        let label = label.ok_or_else(|| Fault::new(format!("there is no label '{name}'")))?;
        label.ways -= 1;
        Ok(label.block)
    }

    /// Ends the ways to a label if all are there.
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

    // Values.

    /// A register as it is.
    pub(super) fn raw(&mut self, register: Register) -> Value {
        self.builder.use_var(self.slots[register])
    }

    /// A value as one of another type of the same size.
    pub(super) fn cast(&mut self, value: Value, to: ir::Type) -> Value {
        let from = self.builder.func.dfg.value_type(value);
        if from == to {
            return value;
        }
        self.builder.ins().bitcast(to, MemFlags::new(), value)
    }

    /// An operand as a value of this type.
    pub(super) fn value(&mut self, operand: &Operand, of: Type) -> Translated<Value> {
        let to = host(of);
        let integer = ir::Type::int(to.bits() as u16).unwrap_or(I8);
        let value = match operand {
            Operand::Register(register) => {
                let value = self.raw(*register);
                let declared = self.function.registers[*register];
                if (declared == Type::Pred) != (of == Type::Pred) {
                    return Err(Fault::new("a predicate is no number"));
                }
                let from = self.builder.func.dfg.value_type(value);
                if from.bits() < to.bits() {
                    return Err(Fault::new("a register is too small for its type"));
                }
                if from.bits() == to.bits() {
                    return Ok(self.cast(value, to));
                }
                // Instructions that convert or store take the lower part of a larger register.
                let whole = ir::Type::int(from.bits() as u16).unwrap_or(I64);
                let value = self.cast(value, whole);
                let part = self.builder.ins().ireduce(integer, value);
                return Ok(self.cast(part, to));
            }
            Operand::Not(register) if of == Type::Pred => {
                let value = self.raw(*register);
                return Ok(self.builder.ins().bxor_imm_u(value, 1));
            }
            Operand::Integer(value) if of == Type::Pred => {
                self.builder.ins().iconst(I8, i64::from(*value != 0))
            }
            Operand::Integer(value) if to == I128 => {
                let low = self.builder.ins().iconst(I64, *value as i64);
                let high = self.builder.ins().iconst(I64, (*value >> 64) as i64);
                self.builder.ins().iconcat(low, high)
            }
            Operand::Integer(value) if of.is_float() => {
                return Err(Fault::new(format!("{value} is no floating-point number")));
            }
            Operand::Integer(value) => self.integer(integer, *value as i64),
            Operand::Single(bits) if of.bits() == 32 => {
                if of == Type::F32 {
                    return Ok(self.builder.ins().f32const(f32::from_bits(*bits)));
                }
                self.integer(I32, i64::from(*bits))
            }
            // A single stands for the double of its value.
            Operand::Single(bits) if of == Type::F64 => {
                let value = f64::from(f32::from_bits(*bits));
                return Ok(self.builder.ins().f64const(value));
            }
            Operand::Double(bits) if of.bits() == 64 => {
                if of == Type::F64 {
                    return Ok(self.builder.ins().f64const(f64::from_bits(*bits)));
                }
                self.builder.ins().iconst(I64, *bits as i64)
            }
            Operand::Double(bits) if of == Type::F32 => {
                let value = f64::from_bits(*bits) as f32;
                return Ok(self.builder.ins().f32const(value));
            }
            Operand::Special(name) => {
                let value = self.special(name)?;
                self.resize(value, integer, false)
            }
            Operand::Variable(name, offset) => {
                let address = self.address_of(name)?;
                let address = self.builder.ins().iadd_imm_s(address, *offset);
                self.resize(address, integer, false)
            }
            other => return Err(Fault::new(format!("{other:?} is no value of {of:?}"))),
        };
        Ok(self.cast(value, to))
    }

    /// A constant, of which only the bits of the type count.
    pub(super) fn integer(&mut self, of: ir::Type, value: i64) -> Value {
        let value = match of {
            I8 => i64::from(value as u8),
            I16 => i64::from(value as u16),
            I32 => i64::from(value as u32),
            _ => value,
        };
        self.builder.ins().iconst(of, value)
    }

    /// An integer with more or fewer bits.
    pub(super) fn resize(&mut self, value: Value, to: ir::Type, signed: bool) -> Value {
        let from = self.builder.func.dfg.value_type(value);
        match from.bits().cmp(&to.bits()) {
            std::cmp::Ordering::Equal => value,
            std::cmp::Ordering::Greater => self.builder.ins().ireduce(to, value),
            std::cmp::Ordering::Less if signed => self.builder.ins().sextend(to, value),
            std::cmp::Ordering::Less => self.builder.ins().uextend(to, value),
        }
    }

    /// Sets a register to a value of this type; a larger one to what the type extends it to.
    pub(super) fn set(&mut self, operand: &Operand, value: Value, of: Type) -> Translated<()> {
        let register = match operand {
            Operand::Register(register) => *register,
            Operand::Sink => return Ok(()),
            other => return Err(Fault::new(format!("{other:?} is no register"))),
        };
        let kind = self.kinds[register];
        let from = self.builder.func.dfg.value_type(value);
        let value = if from.bits() == kind.bits() {
            self.cast(value, kind)
        } else if from.bits() < kind.bits() && from.is_int() {
            let whole = ir::Type::int(kind.bits() as u16).unwrap_or(I64);
            let value = self.resize(value, whole, of.is_signed());
            self.cast(value, kind)
        } else {
            return Err(Fault::new("a register does not suit its type"));
        };
        self.builder.def_var(self.slots[register], value);
        Ok(())
    }

    /// A number of the unit, from its field at this offset.
    pub(super) fn field(&mut self, of: ir::Type, offset: usize) -> Value {
        let flags = MemFlags::trusted();
        self.builder.ins().load(of, flags, self.unit, offset as i32)
    }

    fn special(&mut self, name: &str) -> Translated<Value> {
        let (stem, part) = name.split_once('.').unwrap_or((name, ""));
        let part = ["x", "y", "z"].iter().position(|axis| *axis == part);
        let vector = match stem {
            "%tid" => Some(std::mem::offset_of!(Unit, place)),
            "%ntid" => Some(std::mem::offset_of!(Unit, units)),
            "%ctaid" => Some(std::mem::offset_of!(Unit, cube)),
            "%nctaid" => Some(std::mem::offset_of!(Unit, cubes)),
            _ => None,
        };
        if let (Some(offset), Some(part)) = (vector, part) {
            return Ok(self.field(I32, offset + 4 * part));
        }
        let lane = std::mem::offset_of!(Unit, lane);
        Ok(match name {
            "%laneid" => self.field(I32, lane),
            "%warpid" => self.field(I32, std::mem::offset_of!(Unit, plane)),
            "%dynamic_smem_size" => self.field(I32, std::mem::offset_of!(Unit, dynamic_bytes)),
            "%total_smem_size" => self.field(I32, std::mem::offset_of!(Unit, shared_bytes)),
            "%lanemask_eq" | "%lanemask_lt" | "%lanemask_le" | "%lanemask_gt" | "%lanemask_ge" => {
                let lane = self.field(I32, lane);
                let one = self.builder.ins().iconst(I32, 1);
                let own = self.builder.ins().ishl(one, lane);
                let below = self.builder.ins().iadd_imm_s(own, -1);
                let up_to = self.builder.ins().bor(own, below);
                match &name[10..] {
                    "eq" => own,
                    "lt" => below,
                    "le" => up_to,
                    "gt" => self.builder.ins().bnot(up_to),
                    _ => self.builder.ins().bnot(below),
                }
            }
            _ => return Err(Fault::new(format!("'{name}' is not known"))),
        })
    }

    /// The address of a variable in its own space, of 64 bits.
    pub(super) fn address_of(&mut self, name: &str) -> Translated<Value> {
        if let Some(frame) = self.frames.get(name).copied() {
            return Ok(match frame {
                Frame::Argument(offset, _) => {
                    let start = self.field(I64, std::mem::offset_of!(Unit, params));
                    self.builder.ins().iadd_imm_s(start, i64::from(offset))
                }
                Frame::Passed(value, _) => value,
                Frame::Passing(slot, _) => self.builder.ins().stack_addr(I64, slot, 0),
            });
        }
        if let Some(offset) = self.places.shared.get(name) {
            return Ok(self.builder.ins().iconst(I64, i64::from(*offset)));
        }
        if let Some(address) = self.places.global.get(name) {
            return Ok(self.builder.ins().iconst(I64, *address as i64));
        }
        let key = (self.function.name.clone(), name.to_string());
        if let Some(offset) = self.places.local.get(&key) {
            let start = self.field(I64, std::mem::offset_of!(Unit, local));
            return Ok(self.builder.ins().iadd_imm_s(start, i64::from(*offset)));
        }
        Err(Fault::new(format!("'{name}' is not known")))
    }

    /// An address of shared memory as a generic one, or back.
    pub(super) fn shift_window(&mut self, address: Value, to_generic: bool) -> Value {
        let window = SHARED_WINDOW as i64;
        let by = if to_generic { window } else { -window };
        self.builder.ins().iadd_imm_s(address, by)
    }

    /// Calls a function of the machine with these arguments, integers and floating-point numbers as it takes them.
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

    /// The same for a function that gives a value.
    pub(super) fn helped(&mut self, name: &'static str, arguments: &[Value]) -> Translated<Value> {
        self.help(name, arguments)?
            .ok_or_else(|| Fault::new(format!("'{name}' gives nothing")))
    }

    /// The line of the instruction at hand, for messages of the machine.
    pub(super) fn here(&mut self) -> Value {
        self.integer(I32, i64::from(self.line))
    }

    /// A comparison of integers, as a predicate.
    pub(super) fn icmp(&mut self, how: IntCC, a: Value, b: Value) -> Value {
        self.builder.ins().icmp(how, a, b)
    }
}

/// The error for an instruction that is not known.
pub fn unknown(instruction: &Instruction) -> Fault {
    Fault::new(format!(
        "the instruction '{}' is not known",
        instruction.name()
    ))
}

/// So many operands, or an error.
pub fn operands<const N: usize>(instruction: &Instruction) -> Translated<&[Operand; N]> {
    let all: Result<&[Operand; N], _> = instruction.operands.as_slice().try_into();
    all.map_err(|_| {
        let (name, count) = (instruction.name(), instruction.operands.len());
        Fault::new(format!("'{name}' takes {N} operands, not {count}"))
    })
}
