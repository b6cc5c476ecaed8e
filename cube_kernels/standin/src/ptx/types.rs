//! The parts of a parsed PTX text.

/// The known types of PTX.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// True or false.
    Pred,
    /// Bits without a type, with their number.
    B(u32),
    /// An unsigned integer, with its number of bits.
    U(u32),
    /// A signed integer, with its number of bits.
    S(u32),
    /// Half precision.
    F16,
    /// The upper half of a single (bf16).
    BF16,
    /// Two numbers of half precision.
    F16x2,
    /// Two numbers of the type bf16.
    BF16x2,
    /// A single whose lower bits are ignored.
    Tf32,
    /// A single.
    F32,
    /// A double.
    F64,
}

impl Type {
    /// The type with this name, without the dot. `None` if the name is not known.
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

    /// The number of bits of a value; 1 for a predicate.
    pub fn bits(self) -> u32 {
        match self {
            Self::Pred => 1,
            Self::B(bits) | Self::U(bits) | Self::S(bits) => bits,
            Self::F16 | Self::BF16 => 16,
            Self::F16x2 | Self::BF16x2 | Self::Tf32 | Self::F32 => 32,
            Self::F64 => 64,
        }
    }

    /// The number of bytes of a value in memory.
    pub fn bytes(self) -> u32 {
        self.bits().div_ceil(8)
    }

    /// Whether the type is that of singles or doubles.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64)
    }

    /// Whether the type is f16 or bf16.
    pub fn is_half(self) -> bool {
        matches!(self, Self::F16 | Self::BF16)
    }

    /// Whether the type is that of signed integers.
    pub fn is_signed(self) -> bool {
        matches!(self, Self::S(_))
    }
}

/// The space of a variable or an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// Any space. The address says which.
    Generic,
    /// Memory of the device, shared by all units.
    Global,
    /// Memory of a cube, shared by its units.
    Shared,
    /// Memory of a unit.
    Local,
    /// Arguments of a function.
    Param,
    /// Constants of a module.
    Const,
}

/// A register of a function, as an index into [`Function::registers`].
pub type Register = usize;

/// The base of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// Zero.
    Nothing,
    /// The value of a register.
    Register(Register),
    /// A variable, by the name that the parser has given it.
    Variable(String),
}

/// An address in brackets: a base plus an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The base.
    pub base: Base,
    /// The offset in bytes.
    pub offset: i64,
}

/// An operand of an instruction.
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
    /// The address of a variable plus an offset in bytes.
    Variable(String, i64),
    /// A special register about the unit, with its percent sign and component.
    Special(String),
    /// Several operands in braces.
    Vector(Vec<Operand>),
    /// A result and a predicate, as in `%r1|%p1`.
    Pair(Box<Operand>, Box<Operand>),
    /// An address.
    Address(Address),
    /// A list in parentheses, as calls have.
    List(Vec<Operand>),
    /// The name of a label or of a function.
    Name(String),
    /// A result that is discarded, written `_`.
    Sink,
}

/// The predicate that decides whether an instruction is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The predicate.
    pub register: Register,
    /// Whether the instruction is executed if the predicate is false.
    pub negated: bool,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// The guard, if there is one.
    pub guard: Option<Guard>,
    /// The parts of its name, which dots separate.
    pub parts: Vec<String>,
    /// The operands.
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

/// A statement in the body of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// A label, which branches lead to.
    Label(String),
    /// An instruction.
    Instruction(Instruction),
}

/// A named piece of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// The name. The parser makes names of variables within functions unique.
    pub name: String,
    /// The space.
    pub space: Space,
    /// The address is a multiple of this.
    pub align: u32,
    /// The size in bytes; 0 for shared memory whose size is given by the launch.
    pub size: u32,
    /// The initial bytes; empty for zeros.
    pub initial: Vec<u8>,
}

/// A kernel, or a function that is called.
#[derive(Clone, Debug, Default)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Whether it is a kernel.
    pub kernel: bool,
    /// Its arguments.
    pub params: Vec<Variable>,
    /// The result.
    pub result: Option<Variable>,
    /// The types of its registers.
    pub registers: Vec<Type>,
    /// The variables of its body.
    pub variables: Vec<Variable>,
    /// Its body.
    pub body: Vec<Statement>,
}

/// A PTX text.
#[derive(Clone, Debug, Default)]
pub struct Module {
    /// The architecture that the text is for, such as `sm_90a`.
    pub target: String,
    /// Variables of the module.
    pub variables: Vec<Variable>,
    /// Functions with a body.
    pub functions: Vec<Function>,
}
