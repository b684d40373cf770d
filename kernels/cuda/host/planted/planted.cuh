// A planted fault: a kernel that is wrong where kFault says so and right where not, so that a test can show that the emulation
// names the fault, and raises no false alarm. kernels/tests/emulation/faults.rs runs each of them both ways.
#pragma once
#include "../../launch.cuh"
#include "../../ptx.cuh"
#include "../../values.cuh"

// Three allocations of 1,024 values (`neighbour` was written by a kernel), and a zeroed word.
struct Given {
  const float* in;
  float* out;
  const float* neighbour;
  unsigned* ticket;
  cudaStream_t stream;
};

// The launcher, of both twins. `...` is a Launch, in which `fault` and `p` are known.
#define PLANTED(fault_name, ...)                                                                                       \
  extern "C" cudaError_t loam_planted_##fault_name(bool fault, const Given& p) {                                       \
    const Launch how __VA_ARGS__;                                                                                      \
    return fault ? launch(how, planted<true>, p.in, p.out, p.neighbour, p.ticket) : launch(how, planted<false>, p.in, p.out, p.neighbour, p.ticket); \
  }
