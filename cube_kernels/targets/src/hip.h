// What HIP's run-time compiler declares for every kernel, as far as kernels here use it: emitted
// text is compiled without a ROCm installation.

#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __host__ __attribute__((host))
#define __shared__ __attribute__((shared))
#define __constant__ __attribute__((constant))
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(units) __attribute__((amdgpu_flat_work_group_size(1, units)))

typedef __SIZE_TYPE__ size_t;
