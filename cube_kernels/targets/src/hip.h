// What HIP's run-time compiler declares for every kernel, as far as kernels use it: so that emitted
// text compiles without a ROCm installation.

#define __HIPCC_RTC__ 1
#include <__clang_hip_runtime_wrapper.h>

#define __forceinline__ inline __attribute__((always_inline))
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(units) __attribute__((amdgpu_flat_work_group_size(1, units)))

struct dim3 {
    unsigned int x, y, z;
};

#define threadIdx                                                                                  \
    (dim3{__builtin_amdgcn_workitem_id_x(), __builtin_amdgcn_workitem_id_y(),                      \
          __builtin_amdgcn_workitem_id_z()})
#define blockIdx                                                                                   \
    (dim3{__builtin_amdgcn_workgroup_id_x(), __builtin_amdgcn_workgroup_id_y(),                    \
          __builtin_amdgcn_workgroup_id_z()})
#define blockDim                                                                                   \
    (dim3{__builtin_amdgcn_workgroup_size_x(), __builtin_amdgcn_workgroup_size_y(),                \
          __builtin_amdgcn_workgroup_size_z()})
#define gridDim                                                                                    \
    (dim3{__builtin_amdgcn_grid_size_x() / __builtin_amdgcn_workgroup_size_x(),                    \
          __builtin_amdgcn_grid_size_y() / __builtin_amdgcn_workgroup_size_y(),                    \
          __builtin_amdgcn_grid_size_z() / __builtin_amdgcn_workgroup_size_z()})

static __device__ __forceinline__ void __syncthreads() {
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
    __builtin_amdgcn_s_barrier();
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}

struct __half {
    _Float16 value;
    __device__ __half() = default;
    __device__ __half(float from) : value(from) {}
    __device__ operator float() const { return value; }
};

struct __hip_bfloat16 {
    unsigned short value;
};
