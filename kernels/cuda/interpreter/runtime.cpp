// Stands for CUDA's runtime, on which launchers stand: what nvcc registers is read, and a launch goes into the order of the
// driver's stand-in.
#include <cuda_runtime.h>

#include <cstdio>
#include <mutex>

#include "driver.h"
#include "kernel.h"

namespace interpreter {
namespace {

// As fatbinary writes them; NVIDIA documents neither, and both are looked at before they are believed.
struct Wrapper { uint32_t magic, version; const unsigned char* data; void* more; };
struct Header { uint32_t magic; uint16_t version, bytes; uint64_t rest; };
struct Entry { uint16_t kind, version; uint32_t bytes; uint64_t payload; uint32_t compressed, unused; uint16_t minor, major; uint32_t architecture; uint32_t name_at, name_bytes; uint64_t flags; };
constexpr uint32_t kWrapperMagic = 0x466243b1, kHeaderMagic = 0xba55ed50;
constexpr uint16_t kPtx = 1;

// A source's kernels, read when the first of them is launched.
struct Module {
  std::string_view text;
  bool is_read = false;
  std::vector<Kernel> kernels;
};
struct Named { Module* module; std::string name; size_t shared_max = 48 * 1024; };

std::mutex guard;
auto& named() {
  static std::map<const void*, Named> all;
  return all;
}

// What build.rs has the compiler use.
bool is_good_enough() {
#ifdef __x86_64__
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return true;
#endif
}

std::string_view ptx_of(const Wrapper* wrapper) {
  const auto* header = (const Header*)wrapper->data;
  if (wrapper->magic != kWrapperMagic || header->magic != kHeaderMagic) return {};
  const unsigned char *at = wrapper->data + header->bytes, *end = at + header->rest;
  while (at < end) {
    const auto* entry = (const Entry*)at;
    if (entry->kind == kPtx && !entry->compressed) return {(const char*)at + entry->bytes, strnlen((const char*)at + entry->bytes, entry->payload)};
    at += entry->bytes + entry->payload;
  }
  return {};
}

const Kernel& kernel_of(const Named& named) {
  if (!is_good_enough()) fault("the interpreter was built for processors with AVX2 and FMA");
  Module& module = *named.module;
  if (!module.is_read) {
    if (module.text.empty()) fault("no PTX was registered: nvcc's --compress-mode=none and code=compute_NN put it there");
    module.kernels = read(module.text), module.is_read = true;
  }
  for (const Kernel& kernel : module.kernels) if (kernel.name == named.name) return kernel;
  fault("no kernel is called %s", named.name.c_str());
}

cudaError_t refuse(cudaError_t code, const char* kernel, const char* why) {
  fprintf(stderr, "the interpreter refuses a launch of %s: %s\n", kernel, why);
  return code;
}

int perform(void* launch) {
  try {
    run(*(const Launch*)launch);
    return 0;
  } catch (const Fault& why) {
    fprintf(stderr, "interpreter: %s\n", why.what());
    return 1;
  }
}

}  // namespace
}  // namespace interpreter

using namespace interpreter;

extern "C" {

void** __cudaRegisterFatBinary(void* wrapper) { return (void**)new Module{ptx_of((const Wrapper*)wrapper), false, {}}; }
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}  // when the process ends
void __cudaRegisterFunction(void** module, const char* host, char*, const char* name, int, uint3*, uint3*, dim3*, dim3*, int*) {
  named()[host] = {(Module*)module, name};
}

cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  const std::lock_guard<std::mutex> alone(guard);
  const auto found = named().find(function);
  if (found == named().end()) return cudaErrorInvalidDeviceFunction;
  // What a block can have of sm_80 and sm_90, of which the smaller is what all have.
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value > 163 * 1024) return refuse(cudaErrorInvalidValue, found->second.name.c_str(), "shared memory beyond 163 KiB");
  found->second.shared_max = (size_t)value;
  return cudaSuccess;
}

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* how, const void* function, void** arguments) {
  const std::lock_guard<std::mutex> alone(guard);
  const auto found = named().find(function);
  if (found == named().end()) return cudaErrorInvalidDeviceFunction;
  const char* name = found->second.name.c_str();
  const Kernel* kernel;
  try {
    kernel = &kernel_of(found->second);
  } catch (const Fault& why) {
    return refuse(cudaErrorInvalidKernelImage, name, why.what());
  }
  const dim3 &grid = how->gridDim, &block = how->blockDim;
  const uint64_t threads = (uint64_t)block.x * block.y * block.z;
  if (!grid.x || !grid.y || !grid.z || grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535) return refuse(cudaErrorInvalidConfiguration, name, "no grid");
  if (!threads || threads > kernel->threads_max || block.z > 64) return refuse(cudaErrorInvalidConfiguration, name, "more threads than it was compiled for");
  if (how->dynamicSmemBytes > found->second.shared_max) return refuse(cudaErrorInvalidValue, name, "more shared memory than was asked for");
  auto* launch = new Launch{kernel, {grid.x, grid.y, grid.z}, {block.x, block.y, block.z}, (uint32_t)how->dynamicSmemBytes, {}};
  launch->parameters.resize(kernel->parameters_bytes);
  for (size_t n = 0; n < kernel->parameter_at.size(); ++n)
    memcpy(launch->parameters.data() + kernel->parameter_at[n], arguments[n], kernel->parameter_bytes[n]);
  return (cudaError_t)loam_stand_in_put(how->stream, name, perform, [](void* launch) { delete (Launch*)launch; }, launch);
}

const char* cudaGetErrorName(cudaError_t) { return "cudaError"; }
const char* cudaGetErrorString(cudaError_t) { return "said on stderr"; }

// For tests: a kernel of a text, now. What went wrong, or nothing.
const char* loam_interpret(const char* text, const uint32_t* block, uint32_t shared_bytes, const void* parameters) {
  static thread_local std::string why;
  try {
    const std::vector<Kernel> kernels = read(text);
    const Kernel& kernel = kernels.at(0);
    Launch launch{&kernel, {}, {block[0], block[1], block[2]}, shared_bytes, {}};
    launch.parameters.assign((const unsigned char*)parameters, (const unsigned char*)parameters + kernel.parameters_bytes);
    run(launch);
    return nullptr;
  } catch (const Fault& fault) {
    return (why = fault.what()).c_str();
  }
}

// Launches by <<< >>>, which our kernels have none of, though nvcc writes what they would need.
cudaError_t __cudaGetKernel(cudaKernel_t*, const void*) { return cudaErrorNotSupported; }
cudaError_t __cudaLaunchKernel(cudaKernel_t, dim3, dim3, void**, size_t, cudaStream_t) { return cudaErrorNotSupported; }
unsigned __cudaPopCallConfiguration(dim3*, dim3*, size_t*, void*) { return 1; }
}
