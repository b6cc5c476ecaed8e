//! What a text of PTX says.

/// The types of the language that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// True or false.
    Pred,
    /// So many bits without a meaning.
    B(u32),
    /// An unsigned integer of so many bits.
    U(u32),
    /// A signed integer of so many bits.
    S(u32),
    /// Half precision.
    F16,
    /// The upper half of a single.
    BF16,
    /// Two of half precision.
    F16x2,
    /// Two upper halves.
    BF16x2,
    /// A single of which the lower bits do not count.
    Tf32,
    /// A single.
    F32,
    /// A double.
    F64,
}

impl Type {
    /// The type of this name, without its dot.
    pub fn of(name: &str) -> Option<Self> {
        let bits = |rest: &str| match rest {
            "8" => Some(8),
            "16" => Some(16),
            "32" => Some(32),
            "64" => Some(64),
            _ => None,
        };
        Some(match name {
            "pred" => Self::Pred,
            "f16" => Self::F16,
            "bf16" => Self::BF16,
            "f16x2" => Self::F16x2,
            "bf16x2" => Self::BF16x2,
            "tf32" => Self::Tf32,
            "f32" => Self::F32,
            "f64" => Self::F64,
            "b128" => Self::B(128),
            _ => match name.split_at_checked(1)? {
                ("b", rest) => Self::B(bits(rest)?),
                ("u", rest) => Self::U(bits(rest)?),
                ("s", rest) => Self::S(bits(rest)?),
                _ => return None,
            },
        })
    }

    /// How many bits a value has; one for a predicate.
    pub fn bits(self) -> u32 {
        match self {
            Self::Pred => 1,
            Self::B(bits) | Self::U(bits) | Self::S(bits) => bits,
            Self::F16 | Self::BF16 => 16,
            Self::F16x2 | Self::BF16x2 | Self::Tf32 | Self::F32 => 32,
            Self::F64 => 64,
        }
    }

    /// How many bytes a value takes in memory.
    pub fn bytes(self) -> u32 {
        self.bits().div_ceil(8)
    }

    /// Whether it is a single or a double.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64)
    }

    /// Whether it is a half of either kind.
    pub fn is_half(self) -> bool {
        matches!(self, Self::F16 | Self::BF16)
    }

    /// Whether it is signed.
    pub fn is_signed(self) -> bool {
        matches!(self, Self::S(_))
    }
}

/// Where a variable or an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// Any of them, told apart by the address.
    Generic,
    /// Memory of the device.
    Global,
    /// Memory of a cube.
    Shared,
    /// Memory of a unit.
    Local,
    /// Arguments of a function.
    Param,
    /// Constants of a module.
    Const,
}

/// A register of a function, by its place in [`Function::registers`].
pub type Register = usize;

/// What an address counts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// Zero.
    Nothing,
    /// The value of a register.
    Register(Register),
    /// A variable, by the name that the parser has given it.
    Variable(String),
}

/// An address in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// What it counts from.
    pub base: Base,
    /// Bytes beyond.
    pub offset: i64,
}

/// What an instruction works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A register.
    Register(Register),
    /// The opposite of a predicate.
    Not(Register),
    /// An integer, with its sign.
    Integer(i128),
    /// The bits of a single.
    Single(u32),
    /// The bits of a double.
    Double(u64),
    /// The address of a variable, and bytes beyond.
    Variable(String, i64),
    /// A register that tells about the unit, with its percent sign and component.
    Special(String),
    /// Several in braces.
    Vector(Vec<Operand>),
    /// Two results, the second of which is a predicate.
    Pair(Box<Operand>, Box<Operand>),
    /// An address.
    Address(Address),
    /// A list in parentheses, of a call.
    List(Vec<Operand>),
    /// The name of a label or of a function.
    Name(String),
    /// A result that nobody wants.
    Sink,
}

/// The predicate under which an instruction runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The predicate.
    pub register: Register,
    /// Whether it must be false.
    pub negated: bool,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// The predicate under which it runs.
    pub guard: Option<Guard>,
    /// The parts of its name between dots.
    pub parts: Vec<String>,
    /// What it works on.
    pub operands: Vec<Operand>,
    /// Its line in the text.
    pub line: u32,
}

impl Instruction {
    /// Its name with dots.
    pub fn name(&self) -> String {
        self.parts.join(".")
    }
}

/// A part of the body of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// A place to branch to.
    Label(String),
    /// An instruction.
    Instruction(Instruction),
}

/// Memory with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name; within a function made unique by the parser.
    pub name: String,
    /// Where it is.
    pub space: Space,
    /// What its address is a multiple of.
    pub align: u32,
    /// Its size in bytes; 0 for shared memory whose size the launch says.
    pub size: u32,
    /// What it starts with; nothing for zeros.
    pub initial: Vec<u8>,
}

/// A kernel or a function that one calls.
#[derive(Clone, Debug, Default)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Whether it is a kernel.
    pub kernel: bool,
    /// Its arguments.
    pub params: Vec<Variable>,
    /// What it gives back.
    pub result: Option<Variable>,
    /// The types of its registers.
    pub registers: Vec<Type>,
    /// Variables of its body.
    pub variables: Vec<Variable>,
    /// Its body.
    pub body: Vec<Statement>,
}

/// A text.
#[derive(Clone, Debug, Default)]
pub struct Module {
    /// The architecture that it is for, as `sm_90a`.
    pub target: String,
    /// Variables of the module.
    pub variables: Vec<Variable>,
    /// Functions with a body.
    pub functions: Vec<Function>,
}
