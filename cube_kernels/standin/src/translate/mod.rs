//! Translates PTX to machine code of the host with Cranelift. Each instruction does what the PTX manual defines. An
//! unknown instruction is an error.

mod arithmetic;
mod bits;
mod call;
mod compare;
mod control;
mod convert;
mod floats;
mod function;
mod halves;
mod helpers;
mod matrices;
mod memory;
mod modifiers;
mod operands;
mod planes;

use std::collections::HashMap;
use std::sync::Arc;

use cranelift_codegen::settings::{self, Configurable};
use cranelift_codegen::{Context, ir, isa};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::{ArenaMemoryProvider, JITBuilder, JITModule};
use cranelift_module::{FuncId, Linkage, Module as _};

use crate::machine::{Kernel, Memory, RESERVED, STACK, Unit};
use crate::ptx::{self, Function, PtxError, Space, Variable};
use function::Translator;

/// Bytes of address space for code. Only pages that are used take memory.
const ROOM: usize = 1 << 20;
/// Additional bytes of address space for each byte of a text. An instruction has about twenty bytes of text and at most
/// a hundred bytes of code.
const ROOM_PER_BYTE: usize = 32;

/// The machine code of a PTX text.
pub struct Code {
    /// The kernels of the text.
    pub kernels: Vec<Kernel>,
    /// The variables of the module.
    pub globals: Memory,
    code: Option<JITModule>,
}

impl Drop for Code {
    fn drop(&mut self) {
        if let Some(code) = self.code.take() {
            // SAFETY: no code of the module runs, because whoever drops it has the only reference.
            unsafe { code.free_memory() };
        }
    }
}

/// The places of the variables of a module and of its functions.
pub struct Places {
    /// Offsets in shared memory.
    pub shared: HashMap<String, u32>,
    /// Offsets in the local memory of a unit. Names are unique only within a function, so that the function is a part
    /// of the key.
    pub local: HashMap<(String, String), u32>,
    /// Addresses of the other variables of the module.
    pub global: HashMap<String, u64>,
}

/// An error of the compiler as an error of the text.
fn error(line: u32, message: impl std::fmt::Display) -> PtxError {
    PtxError {
        line,
        message: message.to_string(),
    }
}

/// Lays out variables one behind the other.
#[derive(Default)]
struct Layout {
    end: u32,
}

impl Layout {
    fn place(&mut self, variable: &Variable) -> u32 {
        let start = self.end.next_multiple_of(variable.align);
        self.end = start + variable.size;
        start
    }
}

/// Compiles a text of PTX.
pub fn compile(text: &str) -> Result<Code, PtxError> {
    let module = ptx::parse(text)?;
    let mut code = code_module(text.len()).map_err(|message| error(1, message))?;
    let (places, shared_bytes, local_bytes, globals) = lay_out(&module)?;
    let mut functions = HashMap::new();
    for function in &module.functions {
        let signature = signature(&code, function);
        let id = code
            .declare_function(&function.name, Linkage::Local, &signature)
            .map_err(|e| error(1, e))?;
        functions.insert(function.name.clone(), (id, function.clone()));
    }
    let lines: Arc<[String]> = text.lines().map(str::to_string).collect();
    let mut context = code.make_context();
    let mut builders = FunctionBuilderContext::new();
    let (mut frames, mut smallest) = (0, 16u32);
    for function in &module.functions {
        context.func.signature = signature(&code, function);
        let builder = FunctionBuilder::new(&mut context.func, &mut builders);
        let translator = Translator::new(builder, &mut code, function, &functions, &places);
        let translated = translator.translate();
        let used = translated.map_err(|fault| {
            let text = lines.get(fault.line as usize - 1);
            let text = text.map_or("", |text| text.trim());
            error(fault.line, format!("`{text}`: {}", fault.message))
        })?;
        smallest = smallest.min(used);
        let (id, _) = &functions[&function.name];
        frames += define(&mut code, *id, &mut context, function)?;
    }
    if frames > STACK - RESERVED {
        let message = format!("the functions need {frames} bytes of stack");
        return Err(error(1, message));
    }
    code.finalize_definitions().map_err(|e| error(1, e))?;
    let kernels = module.functions.iter().filter(|function| function.kernel);
    let kernel = |function: &Function| {
        let address = code.get_finalized_function(functions[&function.name].0);
        let mut layout = Layout::default();
        let place = |param: &Variable| (param.size as usize, layout.place(param) as usize);
        Kernel {
            name: function.name.clone(),
            // SAFETY: kernels are declared with this signature.
            entry: unsafe { std::mem::transmute::<*const u8, extern "C" fn(*mut Unit)>(address) },
            shared_bytes,
            local_bytes: local_bytes as usize,
            params: function.params.iter().map(place).collect(),
            lines: lines.clone(),
            smallest: smallest.trailing_zeros(),
        }
    };
    let kernels = kernels.map(kernel).collect();
    Ok(Code {
        kernels,
        globals,
        code: Some(code),
    })
}

/// A module with room for the code of a text of `length` bytes. The code is in one piece, because functions call each
/// other by 32-bit distances.
fn code_module(length: usize) -> Result<JITModule, String> {
    let mut flags = settings::builder();
    let set = [
        ("opt_level", "none"),
        ("is_pic", "false"),
        ("use_colocated_libcalls", "false"),
        ("enable_probestack", "false"),
        ("enable_verifier", if cfg!(test) { "true" } else { "false" }),
    ];
    for (name, value) in set {
        flags.set(name, value).map_err(|e| e.to_string())?;
    }
    let isa: isa::OwnedTargetIsa = cranelift_native::builder()?
        .finish(settings::Flags::new(flags))
        .map_err(|e| e.to_string())?;
    let mut builder = JITBuilder::with_isa(isa, cranelift_module::default_libcall_names());
    let room = ROOM + length * ROOM_PER_BYTE;
    let memory = ArenaMemoryProvider::new_with_size(room).map_err(|e| e.to_string())?;
    builder.memory_provider(Box::new(memory));
    for helper in helpers::all() {
        builder.symbol(helper.name, helper.address);
    }
    Ok(JITModule::new(builder))
}

/// The signature of a function. A kernel takes its unit. Other functions also take pointers to their result and
/// arguments.
fn signature(code: &JITModule, function: &Function) -> ir::Signature {
    let mut signature = code.make_signature();
    let count = if function.kernel {
        1
    } else {
        1 + function.result.iter().len() + function.params.len()
    };
    signature
        .params
        .resize(count, ir::AbiParam::new(ir::types::I64));
    signature
}

type Laid = (Places, u32, u32, Memory);

fn lay_out(module: &ptx::Module) -> Result<Laid, PtxError> {
    let mut places = Places {
        shared: HashMap::new(),
        local: HashMap::new(),
        global: HashMap::new(),
    };
    let mut globals = Memory::default();
    let (mut shared, mut local) = (Layout::default(), Layout::default());
    let mut dynamic = Vec::new();
    for variable in &module.variables {
        match variable.space {
            Space::Shared if variable.size == 0 => dynamic.push(variable),
            Space::Shared => {
                _ = places
                    .shared
                    .insert(variable.name.clone(), shared.place(variable))
            }
            _ => {
                let size = variable.size as usize;
                let address = globals.allocate(size).map_err(|e| error(1, e))?;
                let mut bytes = variable.initial.clone();
                bytes.resize(size, 0);
                // SAFETY: an allocation of `size` bytes.
                unsafe { (address as *mut u8).copy_from_nonoverlapping(bytes.as_ptr(), size) };
                places.global.insert(variable.name.clone(), address as u64);
            }
        }
    }
    for function in &module.functions {
        for variable in &function.variables {
            let name = variable.name.clone();
            match variable.space {
                Space::Shared => _ = places.shared.insert(name, shared.place(variable)),
                Space::Local => {
                    let key = (function.name.clone(), name);
                    places.local.insert(key, local.place(variable));
                }
                _ => {}
            }
        }
    }
    // Shared memory whose size is given by the launch comes last. All of its variables begin at the same place.
    let align = dynamic.iter().map(|variable| variable.align).max();
    shared.end = shared.end.next_multiple_of(align.unwrap_or(1));
    for variable in dynamic {
        places.shared.insert(variable.name.clone(), shared.end);
    }
    Ok((places, shared.end, local.end, globals))
}

/// Compiles a function. Returns the size of its stack frame.
fn define(
    code: &mut JITModule,
    id: FuncId,
    context: &mut Context,
    function: &Function,
) -> Result<usize, PtxError> {
    let name = &function.name;
    code.define_function(id, context)
        .map_err(|e| error(1, format!("function {name}: {e}")))?;
    let compiled = context.compiled_code();
    let frame = compiled.map_or(0, |code| {
        let slots = code.buffer.frame_layout();
        slots.map_or(0, |layout| layout.frame_to_fp_offset as usize)
    });
    code.clear_context(context);
    Ok(frame)
}
