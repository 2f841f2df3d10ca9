/// @file
/// What functions are marked with that run in kernels, too.
#pragma once

/// Stands behind the parameters of a lambda or before a function whose body must become part of a vectorised loop.
#define SHARDWISE_INLINE __attribute__((always_inline))

/// Stands before a loop whose counter must be a constant in each round: arrays that it indexes are registers then.
#ifdef __CUDACC__
#define SHARDWISE_UNROLL _Pragma("unroll")
#else
#define SHARDWISE_UNROLL
#endif

/// Stands before a function that vectorised loops of the host and kernels share.
#ifdef __CUDACC__
#define SHARDWISE_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define SHARDWISE_HOST_DEVICE SHARDWISE_INLINE inline
#endif

/// Stands before a large part of a kernel that is compiled by itself, and so has all registers for itself.
#ifdef __CUDACC__
#define SHARDWISE_KERNEL_PART __host__ __device__ __noinline__
#else
#define SHARDWISE_KERNEL_PART inline
#endif
