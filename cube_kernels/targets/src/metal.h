// What Metal's standard library declares, as far as kernels use it, for a compiler of C++: names, types
// and most address spaces of emitted text are checked where there is no compiler of Metal.

#define device __attribute__((address_space(1)))
#define constant const __attribute__((address_space(2)))
#define threadgroup
#define thread

typedef _Float16 half;
typedef __bf16 bfloat;
typedef unsigned int uint3 __attribute__((ext_vector_type(3)));

namespace metal {

template <typename T, __SIZE_TYPE__ N> struct array {
    T data[N];
    T &operator[](__SIZE_TYPE__ at) { return data[at]; }
    const T &operator[](__SIZE_TYPE__ at) const { return data[at]; }
};

enum class mem_flags { mem_none, mem_device, mem_threadgroup };
void threadgroup_barrier(mem_flags);

#define UNARY(name) template <typename T> T name(T);
#define BINARY(name) template <typename T> T name(T, T);
#define TERNARY(name) template <typename T> T name(T, T, T);
UNARY(abs)
UNARY(fabs)
UNARY(exp)
UNARY(exp2)
UNARY(log)
UNARY(log2)
UNARY(sqrt)
UNARY(rsqrt)
UNARY(sin)
UNARY(cos)
UNARY(tan)
UNARY(asin)
UNARY(acos)
UNARY(atan)
UNARY(sinh)
UNARY(cosh)
UNARY(tanh)
UNARY(floor)
UNARY(ceil)
UNARY(round)
UNARY(rint)
UNARY(trunc)
BINARY(atan2)
BINARY(pow)
BINARY(fmod)
BINARY(min)
BINARY(max)
TERNARY(fma)
TERNARY(clamp)
template <typename T> T select(T, T, bool);
template <typename T> bool isnan(T);
template <typename T> bool isinf(T);
template <typename To, typename From> To as_type(From);

} // namespace metal
