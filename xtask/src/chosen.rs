//! The choice of the tests that run on each runtime.
//!
//! Each test runs on the host. Compiled runtimes take minutes for what the host does in seconds. So each of them
//! runs only the tests that depend on this runtime, and tests that only vary formulas run on one of them.

/// The tests of kernels that run as SPIR-V: each family of kernels, reduction and type, because the validation
/// layer sees different code for each. Tests of further sizes and splits of the same kernels run as WGSL.
pub const AS_SPIRV: &str = "on_device measured --skip on_device::host --skip on_device::range:: \
    --skip components_match_the_host --skip on_device::ranges_in_order \
    --skip on_device::ranges_on_device::ranges --skip on_device::parts --skip on_device::shapes \
    --skip on_device::lists --skip on_device::accuracy";

/// The tests that run on the CPU runtime, for which LLVM compiles kernels one after the other. Tests that need no
/// device run in the step of the host. Kernels that the step with checked indices runs are left out here. Batches,
/// edge cases and refined iterations of linear systems use the same kernels, and would take minutes of small launches.
/// So would each reduction on several devices. Tests that only vary formulas run on software Vulkan or on the stand-in
/// for CUDA, and on the host.
pub const ON_CPU: &str = "backend:: training_keeps the_memory_of the_cpu_runtime_serves contract on_device \
     --skip on_device::host --skip on_device::folds --skip on_device::matrices --skip on_device::pairs_once \
     --skip on_device::scaled --skip on_device::reductions --skip on_device::shapes --skip on_device::catalogue \
     --skip backend::solve_ --skip backend::solve::blocks --skip backend::solve::determinants \
     --skip backend::solve::gradients::of_determinants --skip backend::constrained --skip backend::blocks \
     --skip backend::clusters --skip backend::coinciding --skip backend::dropped --skip backend::of_pairs \
     --skip backend::random_gradients --skip a_module_with_a_learned_kernel_trains \
     --skip pruning::nothing_differs --skip ranges::every_reduction_is_that_of_the_pairs --skip backend::algebra \
     --skip backend::exact --skip gradients_of_each --skip gradients_of_norms_and_cosines --skip backend::kernels \
     --skip backend::not_counted --skip backend::operations --skip backend::uniform --skip backend::variance \
     --skip backend::softmax_total --skip backend::ranges::gradients --skip shards::every_reduction \
     --skip solve::iterations_in_f32";

/// The tests that run as WGSL on software Vulkan: tests of kernels, tests of varied formulas that the CPU runtime
/// leaves out, and tests that reach kernels in other ways. Tests for which its compilers take minutes run
/// elsewhere.
pub const ON_WGPU: &str = "contract on_device backend::algebra backend::blocks backend::devices backend::dropped \
     backend::exact backend::gradients backend::interface backend::kernels backend::masks backend::not_counted \
     backend::of_pairs backend::operations backend::random_gradients backend::ranges::gradients \
     backend::reductions backend::shapes backend::softmax_total backend::unfused backend::uniform \
     backend::variance training_keeps the_memory_of --skip masks::labels_of_any_size \
     --skip gradients_of_algebra_and_kernels --skip on_device::host --skip on_device::schedules \
     --skip on_device::random_kernels --skip on_device::scaled --skip on_device::pairs_once \
     --skip on_device::ranges_ --skip on_device::of_pairs --skip on_device::parts \
     --skip operations_of_sixteen --skip operations_of_seventeen --skip lists::parts_that_no_unit_can_merge";

/// The arguments for all tests on the CPU runtime, without those that compute on the host.
pub const ALL_ON_CPU: &str = "--skip on_device::host";
/// The same for software Vulkan, without formulas for which its compilers take many minutes.
pub const ALL_ON_WGPU: &str = "--skip on_device::host --skip long::nested_functions --skip long::soft_time_warping \
     --skip masks::labels_of_any_size --skip gradients_of_algebra_and_kernels";

/// The tests of kernels that run on the stand-in for CUDA. LLVM takes minutes to emit PTX for long lists, so these
/// run elsewhere, as do many sizes and schedules of the same formulas.
pub const KERNELS_ON_STANDIN: &str = "on_device --skip on_device::host --skip lists_of_few_rows \
     --skip lists_that_no_unit_can_end --skip on_device::parts --skip on_device::random_kernels \
     --skip on_device::pairs_once --skip on_device::ranges --skip on_device::schedules --skip on_device::shapes \
     --skip on_device::special";
/// The tests that also run on the stand-in as another card: kernels that differ on it, and tests of rounding.
pub const ON_OTHER_CARD: &str = "on_device::accuracy on_device::catalogue on_device::folds on_device::matrices \
     on_device::scaled on_device::shapes";
/// The tests of the backend that reach kernels in other ways than the tests of kernels. Those cover functions and
/// formulas, including formulas of gradients.
pub const BACKEND_ON_STANDIN: &str = "backend::devices backend::clusters backend::coinciding backend::lists \
     backend::pruning::nothing_differs backend::ranges backend::unfused";

/// The tests of kernels that run with their indices checked. The functions in a formula make no difference to what
/// a kernel reads and writes.
pub const CHECKED: &str = "on_device::bounds on_device::folds on_device::matrices on_device::pairs_once \
     on_device::reductions on_device::scaled on_device::shapes";
