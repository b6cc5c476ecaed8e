//! Which tests run where.
//!
//! Each test runs on the host. Compiled runtimes take minutes for what the host does in seconds, so each of them runs the
//! tests that tell something of it, and what only varies formulas runs on one of them.

/// The tests of kernels that run as SPIR-V: each family of kernels, reduction and type, as these are code of their own to
/// the validation layer. What makes further sizes and splits of them runs as WGSL.
pub const AS_SPIRV: &str = "on_device measured --skip on_device::host --skip on_device::range:: \
    --skip components_match_the_host --skip on_device::ranges_in_order \
    --skip on_device::ranges_on_device::ranges --skip on_device::parts --skip on_device::shapes \
    --skip on_device::lists --skip on_device::accuracy";

/// The tests that the CPU runtime runs, whose kernels LLVM compiles one after the other. What needs no device runs in the
/// step of the host. Kernels with their indices checked run only so. Batches and edges of systems are above kernels, and
/// take minutes of small launches. What varies formulas runs on software Vulkan or on the stand-in for CUDA, and on the host.
pub const ON_CPU: &str = "backend:: training_keeps the_memory_of the_cpu_runtime_serves contract on_device \
     --skip on_device::host --skip on_device::folds --skip on_device::matrices --skip on_device::pairs_once \
     --skip on_device::scaled --skip on_device::reductions --skip on_device::shapes --skip on_device::catalogue \
     --skip backend::solve_ --skip backend::solve::blocks --skip backend::solve::determinants \
     --skip backend::solve::gradients::of_determinants --skip backend::constrained --skip backend::blocks \
     --skip backend::clusters --skip backend::coinciding --skip backend::dropped --skip backend::of_pairs \
     --skip backend::random_gradients --skip a_module_with_a_learned_kernel_trains \
     --skip pruning::nothing_differs --skip ranges::every_reduction_is_that_of_the_pairs --skip backend::algebra \
     --skip backend::exact --skip gradients_of_each --skip gradients_of_norms_and_cosines --skip backend::kernels \
     --skip backend::not_counted --skip backend::operations --skip backend::uniform --skip backend::variance";

/// The tests that software Vulkan runs as WGSL: kernels, what the CPU runtime leaves out that varies formulas, and what
/// reaches kernels in ways of its own. What its compilers take minutes for runs elsewhere.
pub const ON_WGPU: &str = "contract on_device backend::algebra backend::blocks backend::devices backend::dropped \
     backend::exact backend::gradients backend::interface backend::kernels backend::masks backend::not_counted \
     backend::of_pairs backend::operations backend::random_gradients backend::reductions backend::shapes \
     backend::unfused backend::uniform backend::variance training_keeps the_memory_of --skip masks::labels_of_any_size \
     --skip gradients_of_algebra_and_kernels --skip on_device::host --skip on_device::schedules \
     --skip on_device::random_kernels --skip on_device::scaled --skip on_device::pairs_once \
     --skip on_device::ranges_ --skip on_device::of_pairs --skip on_device::parts \
     --skip operations_of_sixteen --skip operations_of_seventeen --skip lists::parts_that_no_unit_can_merge";

/// What no runtime runs but the host, also where all tests run on each: what computes on the host.
pub const ALL_ON_CPU: &str = "--skip on_device::host";
/// The same on software Vulkan, whose compilers take many minutes for some formulas.
pub const ALL_ON_WGPU: &str = "--skip on_device::host --skip long::nested_functions --skip long::soft_time_warping \
     --skip masks::labels_of_any_size --skip gradients_of_algebra_and_kernels";

/// The kernels that run on the stand-in for CUDA. LLVM takes minutes to emit PTX for long lists, which run elsewhere, as do
/// many sizes and schedules of the same formulas.
pub const KERNELS_ON_STANDIN: &str = "on_device --skip on_device::host --skip lists_of_few_rows \
     --skip lists_that_no_unit_can_end --skip on_device::parts --skip on_device::random_kernels \
     --skip on_device::pairs_once --skip on_device::ranges --skip on_device::schedules --skip on_device::shapes \
     --skip on_device::special";
/// The kernels that also run as on another card: those that differ there, and what it rounds.
pub const ON_OTHER_CARD: &str = "on_device::accuracy on_device::catalogue on_device::folds on_device::matrices \
     on_device::scaled on_device::shapes";
/// What reaches kernels in ways of its own. Functions and formulas run as kernels, also those of gradients.
pub const BACKEND_ON_STANDIN: &str = "backend::devices backend::clusters backend::coinciding backend::lists \
     backend::pruning::nothing_differs backend::ranges backend::unfused";

/// The kernels that run with their indices checked. What the functions of a formula are makes no difference to what is read
/// and written.
pub const CHECKED: &str = "on_device::bounds on_device::folds on_device::matrices on_device::pairs_once \
     on_device::reductions on_device::scaled on_device::shapes";
