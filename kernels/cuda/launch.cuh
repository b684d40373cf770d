// The one way to start a kernel, on a device and in the emulation.
//
//     return launch({.name = "rms_norm", .grid = rows, .block = 256, .shared_bytes = 32, .stream = stream,
//                    .windows = {reads(x, rows * width), writes(y, rows * width), constant(weight, width)}},
//                   rms_norm<bf16>, x, weight, y, width, epsilon);
//
// `windows` say which values the launch may touch, and are its bytes moved, written down. The checked emulation refuses an
// access outside all of them, so that an index into a neighbour inside a pool is seen; where none are given, a kernel may
// touch every allocation. On a device they cost nothing.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>
#include <initializer_list>
#ifdef LOAM_EMULATE
#include <memory>
#include <tuple>
#endif

// Whole bytes that a kernel reads, writes (and reads), or reads and no kernel ever writes: weights, which may be read before
// ptx::dependency_wait.
struct Window {
  enum Use : uint8_t { kReads, kWrites, kConstant };
  const void* from;
  size_t bytes;
  Use use;
};
template <class T> Window reads(const T* p, size_t count) { return {p, count * sizeof(T), Window::kReads}; }
template <class T> Window writes(T* p, size_t count) { return {p, count * sizeof(T), Window::kWrites}; }
template <class T> Window constant(const T* p, size_t count) { return {p, count * sizeof(T), Window::kConstant}; }

struct Launch {
  const char* name;
  dim3 grid, block;
  size_t shared_bytes = 0;
  cudaStream_t stream = nullptr;
  bool programmatic = false;  // may begin before the kernel before it has ended: it must call ptx::dependency_wait
  std::initializer_list<Window> windows = {};
};

#ifdef LOAM_EMULATE

// A kernel's whole shared memory: `unsigned char*`, aligned to 1,024, of Launch::shared_bytes.
#define SHARED_BYTES(name) unsigned char* const name = ::emulation::shared_window()

// A kernel with its arguments, called once for each thread.
template <class... P> struct Call {
  void (*kernel)(P...);
  std::tuple<P...> arguments;
  static void one(const void* call) {
    const auto* self = (const Call*)call;
    std::apply(self->kernel, self->arguments);
  }
};

template <class... P, class... A> cudaError_t launch(const Launch& how, void (*kernel)(P...), A... given) {
  std::vector<emulation::Window> windows;
  for (const Window& w : how.windows)
    windows.push_back({(uintptr_t)w.from, (uintptr_t)w.from + w.bytes, (emulation::Window::Use)w.use});
  auto call = std::make_shared<Call<P...>>(Call<P...>{kernel, std::tuple<P...>(static_cast<P>(given)...)});
  return emulation::submit(how.stream, {how.name, how.grid, how.block, how.shared_bytes, how.programmatic, std::move(windows),
                                        Call<P...>::one, std::move(call), sizeof(Call<P...>)});
}

#else

#define SHARED_BYTES(name) extern __shared__ __align__(1024) unsigned char name[]

template <class... P, class... A> cudaError_t launch(const Launch& how, void (*kernel)(P...), A... given) {
  // More than 48 KiB are given on request; asking costs a call, so it is made where they are needed.
  if (how.shared_bytes > 48 * 1024) {
    const cudaError_t e = cudaFuncSetAttribute((const void*)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)how.shared_bytes);
    if (e != cudaSuccess) return e;
  }
  cudaLaunchAttribute attribute[1];
  attribute[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute[0].val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = how.grid, config.blockDim = how.block, config.dynamicSmemBytes = how.shared_bytes, config.stream = how.stream;
  config.attrs = attribute, config.numAttrs = how.programmatic;
  return cudaLaunchKernelEx(&config, kernel, static_cast<P>(given)...);
}

#endif
