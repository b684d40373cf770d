// gpu_probe: the roofs and the costs of one GPU that Loam's CUDA backend is designed by. It is the first thing run on any GPU.
//
//     make gpu-probe && .bin/gpu_probe --out probe.jsonl [--cublaslt FILE] [--only SECTION]
//
// NO GPU HAS RUN THIS FILE YET: it compiles, without warnings, for sm_80 and sm_90a, and where there is no device it says
// so. Treat its first run as its own test.
//
// It prints a table while it measures, and writes the same figures as lines {"figure","value","unit","roof","note"}. What
// could not be measured is `null`, with the reason in its note. Every section has a time limit, and the whole has one of
// under four minutes. A supervisor starts a worker; where a section throws, the next begins; where it hangs or loses its
// context, that worker is ended and a fresh one goes on. Settings of the device are read, never changed.
//
// At run time it needs the driver and the system's C++ library. cuBLASLt is loaded from --cublaslt, CUBLASLT_PATH or the
// library path; without it sections 4 and 5 are null. Data are random, timed bodies are queued behind a short gate kernel, so that the host's own
// time is not in them, and figures are medians. Kernels that read check their sums against each other, and one element of
// every GEMM shape is checked in f64: a note with WRONG or DIFFER voids its figure. Peak device memory: 16 GiB.
//
//   section  figures                               what they decide
//   1, 12    sm_clock_*, nvml_*, l2_bytes          whether a run compares with another; what an event costs
//   2        read_direct_*, read_bulk_*, copy_*    the roof of every decode figure; plain loads or bulk copies
//   3        graph_node_*, graph_fork*_join_us     whether programmatic launch and side branches are worth their rules
//   4        gemm_*, gemm_*_sm{132,116,100}_us     the GEMM part of the roof; where gemm.cu must win; buckets
//   5        pair_*_{in_turn,beside}_us            site by site, whether the shrink runs beside the GEMM
//   6        slab_*                                one block, eight with a ticket, or a cluster for an adapter's slab
//   7        granule_*, adapter_40_*, replay_*     one pool of 2 MiB granules, or fixed tiles
//   8        link_*                                how soon a cold adapter is there
//   9        read_l2_*, gather_128_slabs_*         what reading B and delta again costs; how near LoRA's floor one comes
//   10       last_block_*, atomic_same_word_*      split-K with a ticket against a second kernel
//   11       step_*                                the host's part of a step
#include <cooperative_groups.h>
#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <dlfcn.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <library_types.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using std::function, std::max, std::min, std::runtime_error, std::string, std::vector;

// ---------------------------------------------------------------- device code
#define UNROLL _Pragma("unroll")
constexpr long long kSpinCyclesMax = 4000000000ll;  // about 2 s: then a bounded wait traps
constexpr int kSlabBytes = 131072;                  // one rank-16 A of 4096 columns in bf16

#define DEVICE __device__ __forceinline__
#define LOAD(name, operation) \
  DEVICE uint4 name(const uint4* p) { uint4 v; asm volatile(operation " {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p)); return v; }
LOAD(load_stream, "ld.global.nc.L1::no_allocate.v4.u32")  // read once: not kept in L1
LOAD(load_l2, "ld.global.cg.v4.u32")                      // served by L2, never by L1
DEVICE uint32_t fold(uint4 v) { return v.x + v.y + v.z + v.w; }
// kN loads in flight, then their sum. The launch bounds below give a second number, or ptxas keeps to 32 registers
// and waits for the first loads before it issues the last.
template <int kN, class Load> DEVICE uint32_t sum_of(Load load) {
  uint4 v[kN]; uint32_t sum = 0; UNROLL for (int i = 0; i < kN; ++i) v[i] = load(i);
  UNROLL for (int i = 0; i < kN; ++i) sum += fold(v[i]);
  return sum;
}
DEVICE uint64_t global_ns() { uint64_t t; asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(t)); return t; }
// What Hopper has and Ampere has not. The host does not launch these kernels there, so that they trap is never seen.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
#define HOPPER(...) __trap()
#else
#define HOPPER(...) __VA_ARGS__
#endif
DEVICE void dependency_wait() { HOPPER(asm volatile("griddepcontrol.wait;" ::: "memory")); }
DEVICE void dependency_release() { HOPPER(asm volatile("griddepcontrol.launch_dependents;" ::: "memory")); }
DEVICE uint32_t shared_address(const void* p) { return (uint32_t)__cvta_generic_to_shared(p); }
DEVICE void barrier_init(uint32_t bar) { asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(bar) : "memory"); }
DEVICE void barrier_init_visible() {  // to the bulk copies of this block
  HOPPER(asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"));
  HOPPER(asm volatile("fence.proxy.async.shared::cta;" ::: "memory"));
}
// One arrival that expects `bytes`, then the copy of just these bytes, from the same thread.
DEVICE void bulk_load(uint32_t dst, const void* src, uint32_t bytes, uint32_t bar) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(bytes) : "memory");
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(dst),
               "l"(src), "r"(bytes), "r"(bar) : "memory");
#else
  (void)dst, (void)src, (void)bytes, (void)bar, __trap();
#endif
}
DEVICE void barrier_wait(uint32_t bar, uint32_t parity) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  long long begun = 0;
  for (;;) {
    uint32_t done;
    asm volatile("{\n .reg .pred p;\n mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n selp.u32 %0, 1, 0, p;\n}"
                 : "=r"(done) : "r"(bar), "r"(parity) : "memory");
    if (done) return;
    if (begun == 0) begun = clock64();
    else if (clock64() - begun > kSpinCyclesMax) __trap();
  }
#else
  (void)bar, (void)parity, __trap();
#endif
}
// Sum over the block, valid in thread 0. All threads must call it, once per kernel.
DEVICE uint32_t block_sum(uint32_t v) {
  __shared__ uint32_t warp_sums[32]; v = __reduce_add_sync(~0u, v); if ((threadIdx.x & 31) == 0) warp_sums[threadIdx.x >> 5] = v;
  __syncthreads(); uint32_t total = 0; if (threadIdx.x == 0) for (uint32_t w = 0; w < blockDim.x / 32; ++w) total += warp_sums[w];
  return total;
}
DEVICE void store_block_sum(uint32_t v, uint32_t* out) { v = block_sum(v); if (threadIdx.x == 0) out[blockIdx.x] = v; }
DEVICE uint32_t hash(uint64_t i, uint32_t seed) {
  uint32_t x = (uint32_t)(i ^ (i >> 32)) * 2654435761u + seed; x ^= x >> 16, x *= 0x85ebca6bu, x ^= x >> 13, x *= 0xc2b2ae35u; return x ^ (x >> 16);
}
__global__ void fill_words(uint4* p, size_t n, uint32_t seed) {
  for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x)
    p[i] = make_uint4(hash(4 * i, seed), hash(4 * i + 1, seed), hash(4 * i + 2, seed), hash(4 * i + 3, seed));
}
__global__ void fill_bf16(__nv_bfloat16* p, size_t n, uint32_t seed) {  // uniform in (-1, 1)
  for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x)
    p[i] = __float2bfloat16((float)(int32_t)hash(i, seed) * (1.0f / 2147483648.0f));
}
// Holds a stream back so that what follows is queued before it starts. Ends by itself.
__global__ void gate(uint32_t us) {
  const uint64_t begun = global_ns(); const long long cycle = clock64();
  while (global_ns() - begun < us * 1000ull && clock64() - cycle < kSpinCyclesMax) __nanosleep(100);
}
// Cycles and nanoseconds that one loaded SM spends: the clock it truly runs at.
__global__ void clock_under_load(float* sink, unsigned long long* cycles_ns) {
  const uint64_t ns = global_ns(); const long long cycle = clock64(); float a = threadIdx.x * 1e-6f, b = a + 1.0f;
  while (clock64() - cycle < 30000000ll) for (int i = 0; i < 64; ++i) a = fmaf(a, 0.999f, 0.1f), b = fmaf(b, 0.998f, 0.2f);
  if (threadIdx.x == 0 && blockIdx.x == 0) cycles_ns[0] = clock64() - cycle, cycles_ns[1] = global_ns() - ns;
  if (a + b == 12345.0f) sink[0] = a;
}
// Reads n vectors (a multiple of kThreads * kUnroll) once; out[block] = sum of its words.
template <int kUnroll, int kThreads> __global__ void __launch_bounds__(kThreads, 1) read_direct(const uint4* src, size_t n, uint32_t* out) {
  constexpr size_t kTile = kThreads * kUnroll;
  uint32_t sum = 0;
  for (size_t base = blockIdx.x * kTile; base < n; base += gridDim.x * kTile) {
    const uint4* from = src + base + threadIdx.x; sum += sum_of<kUnroll>([&](int i) { return load_stream(from + i * kThreads); });
  }
  store_block_sum(sum, out);
}
// Reads `count` pieces through a ring of bulk copies. Piece i lies at pieces[i] * kBytes, or at i * kBytes.
// dependence: 0 none, 1 programmatic and waits first, 2 programmatic and waits with its copies in flight.
template <int kStages, int kBytes>
__global__ void __launch_bounds__(256, 1) read_bulk(const uint8_t* src, const uint32_t* pieces, uint32_t count, uint32_t* out, int dependence) {
  extern __shared__ __align__(128) uint8_t ring[]; __shared__ __align__(8) uint64_t full[kStages]; if (dependence) dependency_release();
  if (dependence == 1) dependency_wait();
  if (threadIdx.x < kStages) barrier_init(shared_address(&full[threadIdx.x])), barrier_init_visible();
  __syncthreads();
  auto issue = [&](uint32_t i) {
    const uint64_t piece = blockIdx.x + (uint64_t)i * gridDim.x; if (piece >= count) return;
    const uint64_t at = pieces ? pieces[piece] : piece;
    bulk_load(shared_address(ring + (i % kStages) * kBytes), src + at * kBytes, kBytes, shared_address(&full[i % kStages]));
  };
  if (threadIdx.x < kStages) issue(threadIdx.x);
  if (dependence == 2) dependency_wait();
  uint32_t sum = 0;
  for (uint32_t i = 0; blockIdx.x + (uint64_t)i * gridDim.x < count; ++i) {
    barrier_wait(shared_address(&full[i % kStages]), (i / kStages) & 1); const uint4* piece = (const uint4*)(ring + (i % kStages) * kBytes);
    UNROLL for (int j = 0; j < kBytes / 16 / 256; ++j) sum += fold(piece[j * 256 + threadIdx.x]);
    __syncthreads();  // all have read the stage before it is filled again
    if (threadIdx.x == i % kStages) issue(i + kStages);
  }
  store_block_sum(sum, out);
}
__global__ void __launch_bounds__(512, 1) copy_direct(const uint4* src, uint4* dst, size_t n) {  // n a multiple of 2048
  for (size_t at = blockIdx.x * 2048ull + threadIdx.x; at < n; at += gridDim.x * 2048ull) {
    uint4 v[4]; UNROLL for (int i = 0; i < 4; ++i) v[i] = load_stream(src + at + i * 512);
    UNROLL for (int i = 0; i < 4; ++i) __stcs(dst + at + i * 512, v[i]);
  }
}
// `passes` sweeps over a set of `tiles` tiles (2048 vectors each) that stays in L2.
__global__ void __launch_bounds__(512, 1) read_resident(const uint4* src, uint32_t tiles, uint32_t passes, uint32_t* out) {
  uint32_t sum = 0;
  for (uint32_t t = blockIdx.x; t < tiles * passes; t += gridDim.x) {
    const uint4* tile = src + (t % tiles) * 2048ull + threadIdx.x; sum += sum_of<4>([&](int i) { return load_l2(tile + i * 512); });
  }
  store_block_sum(sum, out);
}
// One block per slab of the list; grid may exceed the list.
__global__ void __launch_bounds__(1024, 1) gather_direct(const uint4* src, const uint32_t* slabs, uint32_t count, uint32_t* out) {
  uint32_t sum = 0;
  if (blockIdx.x < count) {
    const uint4* slab = src + (size_t)slabs[blockIdx.x] * (kSlabBytes / 16) + threadIdx.x;
    sum = sum_of<8>([&](int i) { return load_stream(slab + i * 1024); });
  }
  store_block_sum(sum, out);
}
// One slab read by kBlocks blocks and summed to one number: by a cluster through shared memory, or by
// the last block by ticket. cycles[block] = from its start to the end of its part.
template <int kBlocks, bool kCluster, bool kBulk> __global__ void __launch_bounds__(kBlocks == 1 ? 1024 : 256, 1)
    read_slab(const uint4* src, uint32_t* partial, uint32_t* ticket, uint32_t* out, uint32_t* cycles) {
  constexpr int kThreads = kBlocks == 1 ? 1024 : 256, kPart = kSlabBytes / kBlocks, kVectors = kPart / 16 / kThreads;
  constexpr int kCopies = kBlocks == 1 ? 8 : 2;
  extern __shared__ __align__(128) uint8_t stage[]; __shared__ __align__(8) uint64_t full[kCopies]; [[maybe_unused]] __shared__ uint32_t parts[kBlocks];
  const long long begun = clock64(); const uint4* part = src + (size_t)blockIdx.x * (kPart / 16); uint32_t sum = 0;
  if constexpr (kBulk) {
    if (threadIdx.x == 0) {
      for (int c = 0; c < kCopies; ++c) barrier_init(shared_address(&full[c]));
      barrier_init_visible();
      for (int c = 0; c < kCopies; ++c)
        bulk_load(shared_address(stage + c * (kPart / kCopies)), (const uint8_t*)part + c * (kPart / kCopies), kPart / kCopies, shared_address(&full[c]));
    }
    __syncthreads();
    for (int c = 0; c < kCopies; ++c) {
      barrier_wait(shared_address(&full[c]), 0); const uint4* piece = (const uint4*)(stage + c * (kPart / kCopies));
      for (int j = threadIdx.x; j < kPart / kCopies / 16; j += kThreads) sum += fold(piece[j]);
    }
  } else { sum = sum_of<kVectors>([&](int i) { return load_l2(part + i * kThreads + threadIdx.x); }); }
  sum = block_sum(sum);
  if constexpr (kCluster) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
    auto cluster = cooperative_groups::this_cluster(); cluster.sync();  // every block has started before its shared memory is written
    if (threadIdx.x == 0) *cluster.map_shared_rank(&parts[cluster.block_rank()], 0) = sum;
    cluster.sync();
    if (cluster.block_rank() == 0 && threadIdx.x == 0) { uint32_t total = 0; for (int b = 0; b < kBlocks; ++b) total += parts[b]; *out = total; }
#endif
  } else if (threadIdx.x == 0) {
    if (kBlocks == 1) *out = sum;
    else {
      __stcg(&partial[blockIdx.x], sum); __threadfence();
      if (atomicInc(ticket, kBlocks - 1) == kBlocks - 1) {  // the last; the ticket is back at 0
        __threadfence(); uint32_t total = 0; for (int b = 0; b < kBlocks; ++b) total += __ldcg(&partial[b]);
        *out = total;
      }
    }
  }
  if (threadIdx.x == 0) cycles[blockIdx.x] = (uint32_t)(clock64() - begun);
}
__global__ void tick(uint32_t* p, int programmatic) { if (programmatic) dependency_release(), dependency_wait(); if (threadIdx.x == 0) p[blockIdx.x] += 1; }
// Writes one plane of 128 floats a block; of each `split` blocks the last sums the planes in order (0: none does).
__global__ void __launch_bounds__(128, 1) sum_planes(float* planes, uint32_t* tickets, float* out, uint32_t split) {
  __shared__ bool last; __stcg(&planes[blockIdx.x * 128 + threadIdx.x], 1.0f); if (split == 0) return;
  const uint32_t tile = blockIdx.x / split; __threadfence(); __syncthreads();
  if (threadIdx.x == 0) last = atomicInc(&tickets[tile], split - 1) == split - 1;
  __syncthreads(); if (!last) return;
  __threadfence(); float sum = 0; for (uint32_t b = 0; b < split; ++b) sum += __ldcg(&planes[(tile * split + b) * 128 + threadIdx.x]);
  out[tile * 128 + threadIdx.x] = sum;
}
__global__ void count_atomically(uint32_t* word, uint32_t times, uint32_t* sink) {  // each waits for its answer
  uint32_t seen = 0; for (uint32_t i = 0; i < times; ++i) seen = atomicAdd(word, 1u + (seen >> 31));
  if (seen == 0xffffffffu) *sink = seen;
}

// ---------------------------------------------------------------- host: time, results, ownership
static void check(cudaError_t e, const char* call, int line) {
  if (e != cudaSuccess) throw runtime_error(string(call) + ": " + cudaGetErrorString(e) + " (line " + std::to_string(line) + ")");
}
#define CK(call) check(call, #call, __LINE__)
static double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }
template <class F> static double timed_us(F f) { const double t = now_s(); f(); return (now_s() - t) * 1e6; }
static double g_begun, g_deadline;  // of the program; of the section
static FILE* g_out; static int g_sms = 132, g_major = 9;
static bool hopper() { return g_major >= 9; }  // clusters, bulk copies, programmatic launch
static bool late() { return now_s() > g_deadline; }
static string text(const char* fmt, auto... a) { char s[512]; snprintf(s, sizeof s, fmt, a...); return s; }
// A figure's roof is what the device could do at best where its own numbers say so (its memory bus); else none is known here,
// and whoever reads the file divides by the rows of sections 2 and 4.
static double g_bus_peak_gb_s = NAN;
static double roof_of(const string& figure) {
  const bool streams = figure.starts_with("read_direct") || figure.starts_with("read_bulk") || figure.starts_with("copy_");
  return streams || figure.starts_with("gather_128_slabs") ? g_bus_peak_gb_s : NAN;
}
static string number(double value) { return std::isfinite(value) ? text("%.7g", value) : string("null"); }
static void emit(const string& figure, double value, const char* unit, const string& note = "", bool print = true) {
  if (print) printf("  %-46s %12.5g %-8s %s\n", figure.c_str(), value, unit, note.c_str()), fflush(stdout);
  if (!g_out) return;
  string safe; for (char c : note) safe += c == '"' || c == '\\' || (unsigned char)c < 32 ? ' ' : c;
  fprintf(g_out, "{\"figure\":\"%s\",\"value\":%s,\"unit\":\"%s\",\"roof\":%s,\"note\":\"%s\"}\n", figure.c_str(), number(value).c_str(), unit,
          number(roof_of(figure)).c_str(), safe.c_str());
  fflush(g_out);
}
static void cut(const string& what) { emit("cut_short_" + what, NAN, "", "the section's time limit came first; its figures that are not here were not measured"); }
static double at_share(vector<double> v, double share) {  // 0.5: the median
  if (v.empty()) return NAN;
  std::sort(v.begin(), v.end()); return v[min(v.size() - 1, (size_t)(share * v.size()))];
}
static double median(const vector<double>& v) { return at_share(v, 0.5); }
static string spread(const vector<double>& v) { return text("p99 %.1f, most %.1f, of %zu", at_share(v, 0.99), at_share(v, 1), v.size()); }
template <class T, auto kFree> struct Owned {  // one handle of the runtime, given back on every way out
  T h = nullptr; Owned() = default; Owned(const Owned&) = delete;
  ~Owned() { if (h) kFree(h); }
  operator T() const { return h; }
};
struct Memory : Owned<void*, cudaFree> {  // plain device memory
  explicit Memory(size_t bytes) { CK(cudaMalloc(&h, bytes)); }
  template <class T> T* as(size_t offset = 0) const { return (T*)((char*)h + offset); }
};
struct Pinned : Owned<void*, cudaFreeHost> { explicit Pinned(size_t bytes) { CK(cudaHostAlloc(&h, bytes, cudaHostAllocDefault)); } };
struct Stream : Owned<cudaStream_t, cudaStreamDestroy> {
  explicit Stream(bool urgent = false) {
    int least = 0, greatest = 0; CK(cudaDeviceGetStreamPriorityRange(&least, &greatest));
    CK(cudaStreamCreateWithPriority(&h, cudaStreamNonBlocking, urgent ? greatest : least));
  }
};
struct Event : Owned<cudaEvent_t, cudaEventDestroy> { explicit Event(unsigned flags = cudaEventDefault) { CK(cudaEventCreateWithFlags(&h, flags)); } };
struct Graph {
  cudaGraph_t graph = nullptr; cudaGraphExec_t exec = nullptr; Graph() = default;
  Graph(Graph&& o) noexcept : graph(o.graph), exec(o.exec) { o.graph = nullptr, o.exec = nullptr; }
  ~Graph() { if (exec) cudaGraphExecDestroy(exec); if (graph) cudaGraphDestroy(graph); }
  void launch(cudaStream_t s) const { CK(cudaGraphLaunch(exec, s)); }
  size_t programmatic_edges() const {
    size_t n = 0, found = 0; CK(cudaGraphGetEdges(graph, nullptr, nullptr, nullptr, &n)); vector<cudaGraphNode_t> from(n), to(n);
    vector<cudaGraphEdgeData> data(n); if (n) CK(cudaGraphGetEdges(graph, from.data(), to.data(), data.data(), &n));
    for (auto& d : data) found += d.type == cudaGraphDependencyTypeProgrammatic;
    return found;
  }
};
struct At { cudaStream_t stream; int grid, block; size_t shared = 0; bool programmatic = false; int cluster = 0; };  // how a kernel is launched
template <class... P, class... A> static void launch(const At& at, void (*kernel)(P...), A... args) {
  cudaLaunchAttribute attr[2]; cudaLaunchConfig_t config = {}; config.gridDim = dim3(at.grid), config.blockDim = dim3(at.block);
  config.dynamicSmemBytes = at.shared, config.stream = at.stream, config.attrs = attr;
  auto add = [&](cudaLaunchAttributeID id) -> auto& { attr[config.numAttrs].id = id; return attr[config.numAttrs++].val; };
  if ((at.programmatic || at.cluster) && !hopper()) throw runtime_error("clusters and programmatic launches need compute capability 9.0");
  if (at.programmatic) add(cudaLaunchAttributeProgrammaticStreamSerialization).programmaticStreamSerializationAllowed = 1;
  if (at.cluster) add(cudaLaunchAttributeClusterDimension).clusterDim = {(unsigned)at.cluster, 1, 1};
  CK(cudaLaunchKernelEx(&config, kernel, P(args)...));
}
template <class K> static void allow_shared(K* kernel, int bytes) { CK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes)); }
static void fill(const Memory& m, size_t bytes, uint32_t seed) {
  launch({nullptr, g_sms * 8, 256}, fill_words, m.as<uint4>(), bytes / 16, seed); CK(cudaDeviceSynchronize());
}
static void clear(const Memory& m, size_t bytes) { CK(cudaMemset(m.h, 0, bytes)); CK(cudaDeviceSynchronize()); }
// The body once eagerly (so that nothing is loaded inside the capture), then captured and instantiated.
static Graph captured(cudaStream_t s, const function<void()>& body, bool instantiate = true) {
  body(); CK(cudaStreamSynchronize(s)); Graph g; CK(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal));
  try { body(); } catch (...) { cudaStreamEndCapture(s, &g.graph); cudaGetLastError(); throw; }  // the first error is the one that counts
  CK(cudaStreamEndCapture(s, &g.graph));
  if (instantiate) {
    CK(cudaGraphInstantiate(&g.exec, g.graph, cudaGraphInstantiateFlagUseNodePriority)); CK(cudaGraphUpload(g.exec, s)); CK(cudaStreamSynchronize(s));
  }
  return g;
}
// Median microseconds of a body by events. A gate, longer than the host took last time, holds the stream until
// the body is queued, so that the host's own time is not in the figure; nor is `before`.
static double median_us(cudaStream_t s, int reps, const function<void()>& body, const function<void()>& before = {}) {
  vector<double> us; Event begin, end; double host_us = 500;
  for (int i = 0; i <= reps; ++i) {  // the first is a warm-up
    if (before) before();
    launch({s, 1, 1}, gate, (uint32_t)min(20e3, 30 + 1.5 * host_us)); const double t = now_s(); CK(cudaEventRecord(begin, s)); body();
    CK(cudaEventRecord(end, s)); host_us = (now_s() - t) * 1e6; CK(cudaEventSynchronize(end)); float ms = 0; CK(cudaEventElapsedTime(&ms, begin, end));
    if (i) us.push_back(ms * 1e3);
    if (late() && i) break;
  }
  return median(us);
}
static double replay_us(const Graph& g, cudaStream_t s, int reps, const function<void()>& before = {}) {
  return median_us(s, reps, [&] { g.launch(s); }, before);
}
static uint32_t host_sum(const uint32_t* device, size_t n) {
  vector<uint32_t> v(n); CK(cudaMemcpy(v.data(), device, n * 4, cudaMemcpyDeviceToHost)); return std::accumulate(v.begin(), v.end(), 0u);
}

// ---------------------------------------------------------------- 1: device and clocks
static void clocks(const char* when) {
  Memory sink(64); vector<unsigned long long> t(2); launch({nullptr, g_sms * 2, 512}, clock_under_load, sink.as<float>(), sink.as<unsigned long long>(16));
  CK(cudaDeviceSynchronize()); CK(cudaMemcpy(t.data(), sink.as<char>(16), 16, cudaMemcpyDeviceToHost));
  emit(text("sm_clock_%s_mhz", when), t[1] ? 1e3 * t[0] / t[1] : NAN, "MHz", "measured by kernel, all SMs in fp32 FMA");
  void* lib = dlopen("libnvidia-ml.so.1", RTLD_NOW); if (!lib) return (void)printf("  no management library: its clocks are left out\n");
  auto init = (int (*)())dlsym(lib, "nvmlInit_v2"); auto by_bus = (int (*)(const char*, void**))dlsym(lib, "nvmlDeviceGetHandleByPciBusId_v2");
  char bus[32]; CK(cudaDeviceGetPCIBusId(bus, sizeof bus, 0)); void* device = nullptr;
  if (!init || !by_bus || init() || by_bus(bus, &device)) return (void)printf("  the management library refuses\n");
  struct Kind { const char *figure, *unit, *call; int which; };
  for (const Kind& k : {Kind{"nvml_sm_clock", "MHz", "nvmlDeviceGetClockInfo", 1}, Kind{"nvml_memory_clock", "MHz", "nvmlDeviceGetClockInfo", 2},
                        Kind{"nvml_sm_clock_max", "MHz", "nvmlDeviceGetMaxClockInfo", 1}, Kind{"temperature", "C", "nvmlDeviceGetTemperature", 0}}) {
    unsigned v = 0; auto ask = (int (*)(void*, int, unsigned*))dlsym(lib, k.call);
    if (ask && !ask(device, k.which, &v)) emit(text("%s_%s", k.figure, when), v, k.unit);
  }
  unsigned milliwatts = 0; unsigned long long bits = 0; auto power = (int (*)(void*, unsigned*))dlsym(lib, "nvmlDeviceGetPowerUsage");
  auto reasons = (int (*)(void*, unsigned long long*))dlsym(lib, "nvmlDeviceGetCurrentClocksThrottleReasons");
  if (power && !power(device, &milliwatts)) emit(text("power_%s", when), milliwatts / 1e3, "W");
  if (reasons && !reasons(device, &bits)) emit(text("throttle_reasons_%s", when), (double)bits, "bits", "1 is idle, 4 the power cap");
}
static void section_device() {
  const double begun = now_s(); CK(cudaFree(nullptr)); emit("context_s", now_s() - begun, "s", "after the device count was asked for"); cudaDeviceProp d;
  CK(cudaGetDeviceProperties(&d, 0)); int driver = 0, runtime = 0; CK(cudaDriverGetVersion(&driver)); CK(cudaRuntimeGetVersion(&runtime));
  size_t spare = 0, total = 0; CK(cudaMemGetInfo(&spare, &total));
  emit("driver_cuda_version", driver, "", text("runtime %d, %s, sm_%d%d", runtime, d.name, d.major, d.minor)); emit("sm_count", d.multiProcessorCount, "");
  emit("l2_bytes", d.l2CacheSize, "B", text("persisting at most %d", d.persistingL2CacheMaxSize));
  emit("memory_bytes", (double)total, "B", text("free %.1f GB", spare / 1e9)); emit("shared_per_block_bytes", (double)d.sharedMemPerBlockOptin, "B");
  emit("copy_engines", d.asyncEngineCount, "");
  emit("memory_bus_peak_gb_s", g_bus_peak_gb_s, "GB/s", "two transfers a clock"); Stream s;
  emit("event_pair_us", median_us(s, 50, [] {}), "us", "two events, nothing between");
  emit("event_pair_kernel_us", median_us(s, 50, [&] { launch({s, 1, 1}, gate, 0); }), "us", "with an empty kernel"); clocks("before");
}

// ---------------------------------------------------------------- 2: streaming
static void section_streaming() {
  const size_t most = 8ull << 30; Memory src(most), dst(most), out(1 << 20); fill(src, most, 1); fill(dst, most, 2); Stream s;
  allow_shared(read_bulk<6, 16384>, 6 * 16384); allow_shared(read_bulk<12, 16384>, 12 * 16384);
  for (int gib : {1, 4, 8}) {
    const size_t bytes = (size_t)gib << 30; const int reps = gib == 1 ? 20 : 10;
    struct Way { const char* name; int grid; function<void()> run; };
    auto direct = [&](auto kernel, int block, int per_sm) {
      return [&, kernel, block, per_sm] { launch({s, g_sms * per_sm, block}, kernel, src.as<uint4>(), bytes / 16, out.as<uint32_t>()); };
    };
    auto bulk = [&](auto kernel, int stages, int per_sm) {
      return [&, kernel, stages, per_sm] {
        launch({s, g_sms * per_sm, 256, stages * 16384ul}, kernel, src.as<uint8_t>(), nullptr, bytes / 16384, out.as<uint32_t>(), 0); };
    };
    vector<Way> ways = {{"direct, 256 x 4 a SM", g_sms * 4, direct(read_direct<8, 256>, 256, 4)},
                        {"direct, 256 x 5 a SM", g_sms * 5, direct(read_direct<8, 256>, 256, 5)},
                        {"direct, 512 x 2 a SM", g_sms * 2, direct(read_direct<8, 512>, 512, 2)},
                        {"direct, 256 x 40 a SM", g_sms * 40, direct(read_direct<8, 256>, 256, 40)},
                        {"bulk, 6 x 16 KB x 2 a SM", g_sms * 2, bulk(read_bulk<6, 16384>, 6, 2)},
                        {"bulk, 12 x 16 KB x 1 a SM", g_sms, bulk(read_bulk<12, 16384>, 12, 1)}};
    if (!hopper()) ways.resize(4);  // no bulk copies
    double best[2] = {NAN, NAN}; string by[2] = {"", "needs compute capability 9.0"}; uint32_t first = 0; bool same = true;
    for (size_t w = 0; w < ways.size(); ++w) {
      if (late()) return cut("streaming");
      const bool by_bulk = w >= 4; const double rate = bytes / median_us(s, reps, ways[w].run) / 1e3;
      const uint32_t sum = host_sum(out.as<uint32_t>(), ways[w].grid); if (w == 0) first = sum;
      same = same && sum == first; if (!(rate <= best[by_bulk])) best[by_bulk] = rate, by[by_bulk] = ways[w].name;
    }
    const char* sums = same ? "sums agree" : "SUMS DIFFER: the figure is void";
    emit(text("read_direct_%dgib_gb_s", gib), best[0], "GB/s", by[0] + "; " + sums);
    emit(text("read_bulk_%dgib_gb_s", gib), best[1], "GB/s", by[1] + "; " + sums);
    double us = median_us(s, reps, [&] {
      launch({s, g_sms * 4, 512}, copy_direct, src.as<uint4>(), dst.as<uint4>(), bytes / 16); });
    emit(text("copy_kernel_%dgib_gb_s", gib), 2 * bytes / us / 1e3, "GB/s", "read and written bytes");
    us = median_us(s, reps, [&] { CK(cudaMemcpyAsync(dst.h, src.h, bytes, cudaMemcpyDeviceToDevice, s)); });
    emit(text("copy_memcpy_%dgib_gb_s", gib), 2 * bytes / us / 1e3, "GB/s", "read and written bytes");
  }
}

// ---------------------------------------------------------------- 3: graphs
static void section_graphs() {
  Memory words(1 << 20); clear(words, 1 << 20); Stream main, side[3]; Event fork(cudaEventDisableTiming), join(cudaEventDisableTiming);
  uint32_t* p = words.as<uint32_t>();
  auto chain = [&](int nodes, int grid, bool programmatic) {
    return captured(main, [&] { for (int i = 0; i < nodes; ++i) launch({main, grid, 128, 0, programmatic}, tick, p, (int)programmatic); }); };
  double plain_node = 0;
  for (int grid : {1, 132})
    for (bool programmatic : {false, true}) {
      if (programmatic && !hopper()) continue;
      Graph few = chain(32, grid, programmatic), many = chain(256, grid, programmatic); clear(words, 1 << 20); many.launch(main);
      CK(cudaStreamSynchronize(main)); uint32_t counted = 0; CK(cudaMemcpy(&counted, p, 4, cudaMemcpyDeviceToHost));
      const double t32 = replay_us(few, main, 20), t256 = replay_us(many, main, 20); const double node = (t256 - t32) / 224;
      if (grid == 1 && !programmatic) plain_node = node;
      emit(text("graph_node_%s_%dblock_us", programmatic ? "programmatic" : "plain", grid), node, "us",
           text("256 nodes %.1f us, a replay's fixed part %.1f us, %zu programmatic edges%s", t256, t32 - 32 * node,
                many.programmatic_edges(), counted == 256 ? "" : ", COUNT WRONG"));
    }
  for (int width : {2, 3, 4}) {  // one node, then `width` side by side, joined
    const int groups = 256 / (width + 1);
    Graph g = captured(main, [&] {
      for (int i = 0; i < groups; ++i) {
        launch({main, 1, 128}, tick, p, 0); CK(cudaEventRecord(fork, main));
        for (int b = 1; b < width; ++b) { CK(cudaStreamWaitEvent(side[b - 1], fork)); launch({side[b - 1], 1, 128}, tick, p + 1024 * b, 0); }
        launch({main, 1, 128}, tick, p, 0);
        for (int b = 1; b < width; ++b) { CK(cudaEventRecord(join, side[b - 1])); CK(cudaStreamWaitEvent(main, join)); }
      }
    });
    const double t = replay_us(g, main, 20) / groups;
    emit(text("graph_fork%d_join_us", width), t, "us",
         text("a node, then %d branches, joined; over two plain nodes in turn %+.2f us; a node %.2f us", width, t - 2 * plain_node, t / (width + 1)));
  }
  for (int nodes : {400, 4000}) {
    if (late()) return cut("instantiation");
    Graph g = captured(main, [&] { for (int i = 0; i < nodes; ++i) launch({main, 1, 128}, tick, p, 0); }, false); vector<double> made, uploaded, launched;
    size_t before = 0, after = 0, total = 0;
    for (int i = 0; i < 5; ++i) {
      if (g.exec) CK(cudaGraphExecDestroy(g.exec));
      g.exec = nullptr; CK(cudaMemGetInfo(&before, &total)); made.push_back(timed_us([&] { CK(cudaGraphInstantiate(&g.exec, g.graph, 0)); }) / 1e3);
      uploaded.push_back(timed_us([&] { CK(cudaGraphUpload(g.exec, main)); CK(cudaStreamSynchronize(main)); }) / 1e3);
      launched.push_back(timed_us([&] { g.launch(main); })); CK(cudaStreamSynchronize(main)); if (i == 0) CK(cudaMemGetInfo(&after, &total));
    }
    emit(text("graph_instantiate_%dnodes_ms", nodes), median(made), "ms", text("device memory %.2f MB", ((double)before - after) / 1e6));
    emit(text("graph_upload_%dnodes_ms", nodes), median(uploaded), "ms", "with its synchronization");
    emit(text("graph_first_launch_%dnodes_host_us", nodes), median(launched), "us", "the call alone");
    emit(text("graph_replay_%dnodes_us", nodes), replay_us(g, main, 10), "us");
  }
}

// ---------------------------------------------------------------- 4, 5: cuBLASLt
// The part of cuBLASLt's binary interface that is used here, so that its headers (in a package of 400 MB) are not needed.
// Numbers are those of cuBLAS 13.0.2's headers.
using LtStatus = int; using LtHandle = void*; using LtDescription = void*; using LtLayout = void*; using LtPreference = void*;
struct LtAlgorithm { uint64_t data[8]; };
struct LtFound { LtAlgorithm algo; size_t workspace_bytes; LtStatus state; float waves; int reserved[4]; };
static_assert(sizeof(LtFound) == 96);
constexpr LtStatus kLtSuccess = 0;
constexpr int kLtCompute32F = 68, kLtTransposed = 1, kLtDescriptionTransA = 3, kLtDescriptionSmTarget = 15, kLtPreferenceWorkspaceMax = 1, kLtPreferenceReductions = 3;
constexpr unsigned kLtReductionsInF32 = 2;  // parts of a sum are not rounded before they are added: as Loam asks for
struct Lt {  // the library, loaded at run time
  static string& path() { static string p; return p; }
  static void* open() {
    const char* env = getenv("CUBLASLT_PATH");
    for (string p : {path(), string(env ? env : ""), string("libcublasLt.so.13"), string("libcublasLt.so")})
      if (void* lib = p.empty() ? nullptr : dlopen(p.c_str(), RTLD_NOW | RTLD_LOCAL)) return lib;
    throw runtime_error("no libcublasLt.so.13 found: give --cublaslt FILE, CUBLASLT_PATH or LD_LIBRARY_PATH");
  }
  void* find(const char* name) const { void* f = dlsym(lib, name); return f ? f : throw runtime_error(string(name) + " is not in the library"); }
  void* const lib = open();
#define LT(name, ...) LtStatus (*const name)(__VA_ARGS__) = (LtStatus (*)(__VA_ARGS__))find("cublasLt" #name)
  size_t (*const GetVersion)() = (size_t (*)())find("cublasLtGetVersion");
  LT(Create, LtHandle*); LT(Destroy, LtHandle); LT(MatmulDescCreate, LtDescription*, int, cudaDataType_t); LT(MatmulDescDestroy, LtDescription);
  LT(MatmulDescSetAttribute, LtDescription, int, const void*, size_t); LT(MatrixLayoutDestroy, LtLayout);
  LT(MatrixLayoutCreate, LtLayout*, cudaDataType_t, uint64_t, uint64_t, int64_t); LT(MatmulPreferenceCreate, LtPreference*);
  LT(MatmulPreferenceDestroy, LtPreference); LT(MatmulPreferenceSetAttribute, LtPreference, int, const void*, size_t);
  LT(MatmulAlgoGetHeuristic, LtHandle, LtDescription, LtLayout, LtLayout, LtLayout, LtLayout, LtPreference, int, LtFound*, int*);
  LT(Matmul, LtHandle, LtDescription, const void*, const void*, LtLayout, const void*, LtLayout, const void*, const void*, LtLayout, void*,
     LtLayout, const LtAlgorithm*, void*, size_t, cudaStream_t);
  LtHandle handle = nullptr;
  Lt() { ck(Create(&handle), "create"); printf("  cuBLASLt %zu\n", GetVersion()); }
  ~Lt() { if (handle) Destroy(handle); }
  static void ck(LtStatus s, const char* what) { if (s != kLtSuccess) throw runtime_error(text("cuBLASLt %s: status %d", what, (int)s)); }
};
struct Shape { const char* name; int n, k; };
static const Shape kShapes[] = {{"qkv", 6144, 4096}, {"o", 4096, 4096}, {"gate_up", 28672, 4096}, {"down", 4096, 14336}, {"head", 128256, 4096}};
constexpr int kRowsMax = 2048;
constexpr size_t kWeightBytes = 128256ull * 4096 * 2, kWorkspaceBytes = 64 << 20;
// y[m, n] = x[m, k] w[n, k]^T, row-major: column-major it is (n x m) = w^T (k x n) times (k x m).
struct Gemm {
  Lt& lt; const Shape shape; const int m; const Memory &w, &x, &y, &workspace; LtDescription desc = nullptr;
  LtLayout lw = nullptr, lx = nullptr, ly = nullptr; LtAlgorithm algo = {}; double us = INFINITY, first_us = NAN;
  int tried = 0, chosen = -1;
  Gemm(Lt& lt, Shape shape, int m, const Memory& w, const Memory& x, const Memory& y, const Memory& workspace, int sms)
      : lt(lt), shape(shape), m(m), w(w), x(x), y(y), workspace(workspace) {
    const int32_t transposed = kLtTransposed; const int32_t target = sms;
    Lt::ck(lt.MatmulDescCreate(&desc, kLtCompute32F, CUDA_R_32F), "descriptor");
    Lt::ck(lt.MatmulDescSetAttribute(desc, kLtDescriptionTransA, &transposed, sizeof transposed), "transpose");
    if (sms) Lt::ck(lt.MatmulDescSetAttribute(desc, kLtDescriptionSmTarget, &target, sizeof target), "SM target");
    Lt::ck(lt.MatrixLayoutCreate(&lw, CUDA_R_16BF, shape.k, shape.n, shape.k), "layout");
    Lt::ck(lt.MatrixLayoutCreate(&lx, CUDA_R_16BF, shape.k, m, shape.k), "layout");
    Lt::ck(lt.MatrixLayoutCreate(&ly, CUDA_R_16BF, shape.n, m, shape.n), "layout");
  }
  ~Gemm() { for (auto l : {lw, lx, ly}) if (l) lt.MatrixLayoutDestroy(l); if (desc) lt.MatmulDescDestroy(desc); }
  Gemm(const Gemm&) = delete;
  size_t weight_bytes() const { return 2ull * shape.n * shape.k; }
  double bytes() const { return weight_bytes() + 2.0 * m * (shape.n + shape.k); }
  double flop() const { return 2.0 * m * shape.n * shape.k; }
  int copies() const { return max<int>(1, min(kWeightBytes / weight_bytes(), (268000000 + weight_bytes() - 1) / weight_bytes())); }
  int repeats() const { return std::clamp((int)(500 / (bytes() / 4e6 + flop() / 600e6)), 8, 64); }
  void run(cudaStream_t s, int i, const LtAlgorithm& a) const {
    const float one = 1, zero = 0;
    Lt::ck(lt.Matmul(lt.handle, desc, &one, w.as<char>((i % copies()) * weight_bytes()), lw, x.h, lx, &zero, y.h, ly, y.h, ly,
                     &a, workspace.h, kWorkspaceBytes, s), "matmul");
  }
  void choose(cudaStream_t s) {  // the fastest of the heuristic's eight
    LtPreference preference = nullptr; LtFound found[8]; const size_t limit = kWorkspaceBytes;
    Lt::ck(lt.MatmulPreferenceCreate(&preference), "preference");
    LtStatus status = lt.MatmulPreferenceSetAttribute(preference, kLtPreferenceWorkspaceMax, &limit, sizeof limit);
    if (status == kLtSuccess)
      status = lt.MatmulPreferenceSetAttribute(preference, kLtPreferenceReductions, &kLtReductionsInF32, sizeof kLtReductionsInF32);
    if (status == kLtSuccess) status = lt.MatmulAlgoGetHeuristic(lt.handle, desc, lw, lx, ly, ly, preference, 8, found, &tried);
    lt.MatmulPreferenceDestroy(preference); Lt::ck(status, "heuristic");
    for (int c = 0; c < tried && !(late() && chosen >= 0); ++c) {
      if (found[c].state != kLtSuccess) continue;
      try {
        const int n = repeats(); Graph g = captured(s, [&] { for (int i = 0; i < n; ++i) run(s, i, found[c].algo); });
        const double t = replay_us(g, s, 5) / n; if (c == 0) first_us = t;
        if (t < us) us = t, chosen = c, algo = found[c].algo;
      } catch (const std::exception& e) {
        if (cudaStreamSynchronize(s) != cudaSuccess) throw;  // the device is lost, not the candidate
        printf("  %s m %d candidate %d: %s\n", shape.name, m, c, e.what());
      }
    }
    if (chosen < 0) throw runtime_error("no candidate of the heuristic ran");
  }
  // One element in f64 on the host: the layouts are as meant.
  bool right(cudaStream_t s) const {
    const int row = m - 1, column = shape.n - 3; vector<__nv_bfloat16> a(shape.k), b(shape.k); __nv_bfloat16 got;
    CK(cudaMemsetAsync(y.h, 0xff, 2ull * m * shape.n, s)); run(s, 0, algo); CK(cudaStreamSynchronize(s));
    CK(cudaMemcpy(a.data(), w.as<char>(2ull * column * shape.k), 2ull * shape.k, cudaMemcpyDeviceToHost));
    CK(cudaMemcpy(b.data(), x.as<char>(2ull * row * shape.k), 2ull * shape.k, cudaMemcpyDeviceToHost));
    CK(cudaMemcpy(&got, y.as<char>(2ull * ((size_t)row * shape.n + column)), 2, cudaMemcpyDeviceToHost)); double sum = 0, size = 0;
    for (int i = 0; i < shape.k; ++i) { const double term = (double)__bfloat162float(a[i]) * __bfloat162float(b[i]); sum += term, size += std::fabs(term); }
    return std::fabs(__bfloat162float(got) - sum) < 1e-4 * size + 8e-3 * std::fabs(sum);
  }
};
static void fill_random_bf16(const Memory& m, size_t count, uint32_t seed) {
  launch({nullptr, g_sms * 8, 256}, fill_bf16, m.as<__nv_bfloat16>(), count, seed); CK(cudaDeviceSynchronize());
}
static void section_gemm() {
  Lt lt; Memory w(kWeightBytes), x(2ull * kRowsMax * 14336), y(2ull * kRowsMax * 128256), workspace(kWorkspaceBytes);
  fill_random_bf16(w, kWeightBytes / 2, 3); fill_random_bf16(x, (size_t)kRowsMax * 14336, 4); Stream s;
  auto measure = [&](const Shape& shape, int m, int sms) {
    Gemm g(lt, shape, m, w, x, y, workspace, sms); g.choose(s); const string name = text("gemm_%s_m%d", shape.name, m) + (sms ? text("_sm%d", sms) : "");
    const double gb_s = g.bytes() / g.us / 1e3, tflop_s = g.flop() / g.us / 1e6;
    emit(name + "_us", g.us, "us", text("%5.0f GB/s %5.1f TFLOP/s; number %d of %d, the first %.1f us%s", gb_s, tflop_s, g.chosen, g.tried,
                                        g.first_us, g.right(s) ? "" : "; RESULT WRONG"));
    emit(name + "_gb_s", gb_s, "GB/s", "weights, inputs and outputs once", false); emit(name + "_tflop_s", tflop_s, "TFLOP/s", "", false); return g.us;
  };
  for (int m : {1, 32, 128, 256, 8, 64, 2, 4, 16, 192, 512, 2048}) {  // those that decide most come first
    double step_us = 0;
    for (const Shape& shape : kShapes) { if (late()) return cut("gemm"); step_us += measure(shape, m, 0) * (strcmp(shape.name, "head") ? 32 : 1); }
    emit(text("gemm_step_m%d_ms", m), step_us / 1e3, "ms", "32 layers and the head, GEMMs alone");
  }
  for (int m : {32, 128})
    for (const Shape& shape : kShapes)
      for (int sms : {132, 116, 100}) { if (late()) return cut("sm_targets"); measure(shape, m, sms); }
}
static void section_overlap() {
  Lt lt; const size_t region = 512ull << 20;
  Memory w(kWeightBytes), x(2ull * 256 * 4096), y(2ull * 256 * 28672), workspace(kWorkspaceBytes), stream(region), out(4096);
  fill_random_bf16(w, kWeightBytes / 2, 5); fill_random_bf16(x, 256ull * 4096, 6); fill(stream, region, 7); Stream main, urgent(true);
  Event fork(cudaEventDisableTiming), join(cudaEventDisableTiming); const int n = 24;
  auto read = [&](cudaStream_t s, int i, size_t bytes) {  // 32 blocks of 256 threads
    launch({s, 32, 256}, read_direct<10, 256>, stream.as<uint4>((i % (region / bytes)) * bytes), bytes / 16, out.as<uint32_t>());
  };
  const size_t sizes[] = {1310720, 2621440}; double alone_read[2];
  for (int z = 0; z < 2; ++z) {
    const int many = (int)(region / sizes[z]); Graph g = captured(main, [&] { for (int i = 0; i < many; ++i) read(main, i, sizes[z]); });
    alone_read[z] = replay_us(g, main, 10) / many;
    emit(text("streamer32_alone_%.1fmb_us", sizes[z] / 1e6), alone_read[z], "us", "a node of 32 blocks in a chain, from HBM");
  }
  for (const Shape& shape : {kShapes[0], kShapes[2]})
    for (int m : {128, 256})
      for (int sms : {132, 116, 100}) {
        if (late()) return cut("overlap");
        Gemm g(lt, shape, m, w, x, y, workspace, sms); g.choose(main); const string name = text("pair_%s_m%d_sm%d", shape.name, m, sms);
        Graph alone = captured(main, [&] { for (int i = 0; i < n; ++i) g.run(main, i, g.algo); }); const double alone_us = replay_us(alone, main, 10) / n;
        emit(name + "_gemm_alone_us", alone_us, "us");
        for (int z = 0; z < 2; ++z) {
          Graph turn = captured(main, [&] {
            for (int i = 0; i < n; ++i) read(main, i, sizes[z]), g.run(main, i, g.algo); });
          Graph beside = captured(main, [&] {
            for (int i = 0; i < n; ++i) {
              CK(cudaEventRecord(fork, main)); CK(cudaStreamWaitEvent(urgent, fork)); read(urgent, i, sizes[z]); g.run(main, i, g.algo);
              CK(cudaEventRecord(join, urgent)); CK(cudaStreamWaitEvent(main, join));
            }
          });
          const double turn_us = replay_us(turn, main, 10) / n, beside_us = replay_us(beside, main, 10) / n;
          emit(name + text("_%.1fmb_in_turn_us", sizes[z] / 1e6), turn_us, "us");
          emit(name + text("_%.1fmb_beside_us", sizes[z] / 1e6), beside_us, "us",
               text("over in turn %.3f, over the GEMM alone %+.2f us", beside_us / turn_us, beside_us - alone_us));
        }
      }
}

// ---------------------------------------------------------------- 6: one slab, soon
static void section_slab() {
  const int nodes = 64; const size_t apart = 8 << 20, flush_bytes = 512ull << 20;
  Memory src(nodes * apart), flush(flush_bytes), out(1 << 20), words(1 << 20); fill(src, nodes * apart, 8); fill(flush, flush_bytes, 9);
  clear(words, 1 << 20); Stream s; uint32_t *ticket = words.as<uint32_t>(), *partial = ticket + 64, *cycles = ticket + 1024, *sums = ticket + 65536;
  allow_shared(read_slab<1, false, true>, kSlabBytes);
  auto chain = [&](auto kernel, int blocks, int threads, size_t shared, int cluster) {
    return captured(s, [=, &src, &s] {
      for (int i = 0; i < nodes; ++i)
        launch({s, blocks, threads, shared, false, cluster}, kernel, src.as<uint4>(i * apart), partial, ticket, sums + i, cycles + 8 * i); });
  };
  struct Way { const char* name; int blocks; Graph graph; };
  vector<Way> ways; ways.push_back({"1block_direct", 1, chain(read_slab<1, false, false>, 1, 1024, 0, 0)});
  if (hopper()) ways.push_back({"1block_bulk", 1, chain(read_slab<1, false, true>, 1, 1024, kSlabBytes, 0)});
  ways.push_back({"8blocks_direct", 8, chain(read_slab<8, false, false>, 8, 256, 0, 0)});
  if (hopper()) ways.push_back({"8blocks_bulk", 8, chain(read_slab<8, false, true>, 8, 256, kSlabBytes / 8, 0)});
  if (hopper()) ways.push_back({"cluster8_direct", 8, chain(read_slab<8, true, false>, 8, 256, 0, 8)});
  if (hopper()) ways.push_back({"cluster8_bulk", 8, chain(read_slab<8, true, true>, 8, 256, kSlabBytes / 8, 8)});
  Graph empty = captured(s, [&] { for (int i = 0; i < nodes; ++i) launch({s, 8, 256}, tick, partial, 0); });
  emit("slab_empty_node_us", replay_us(empty, s, 10) / nodes, "us", "8 blocks that do nothing: take it off the rows below");
  if (!hopper()) emit("slab_bulk_and_cluster_us", NAN, "us", "need compute capability 9.0");
  auto sweep = [&] { launch({s, g_sms * 8, 256}, read_direct<8, 256>, flush.as<uint4>(), flush_bytes / 16, out.as<uint32_t>()); }; uint32_t first = 0;
  for (size_t k = 0; k < ways.size(); ++k)
    for (bool cold : {true, false}) {
      if (late()) return cut("slabs");
      CK(cudaMemsetAsync(sums, 0, nodes * 4, s));
      const double us = replay_us(ways[k].graph, s, 10, cold ? function<void()>(sweep) : function<void()>()) / nodes; vector<uint32_t> all(nodes * 8);
      vector<double> slowest; CK(cudaMemcpy(all.data(), cycles, all.size() * 4, cudaMemcpyDeviceToHost));
      for (int i = 0; i < nodes; ++i) slowest.push_back(*std::max_element(all.begin() + 8 * i, all.begin() + 8 * i + ways[k].blocks));
      const uint32_t sum = host_sum(sums, nodes); if (k == 0 && cold) first = sum;
      emit(text("slab_%s_%s_us", ways[k].name, cold ? "hbm" : "l2"), us, "us",
           text("a node in a chain; in the kernel %.0f cycles%s", median(slowest), sum == first ? "" : "; SUM WRONG"));
    }
}

// ---------------------------------------------------------------- 7: mapping under a running graph
template <class F> static F driver_call(const char* name) {
  void* p = nullptr; cudaDriverEntryPointQueryResult found; CK(cudaGetDriverEntryPointByVersion(name, &p, 12000, cudaEnableDefault, &found));
  if (!p || found != cudaDriverEntryPointSuccess) throw runtime_error(string(name) + " is not in the driver");
  return (F)p;
}
#define DRIVER(name) const auto name##_ = driver_call<decltype(&name)>(#name)
static void ck_driver(CUresult r, const char* what) { if (r != CUDA_SUCCESS) throw runtime_error(text("%s: CUresult %d", what, (int)r)); }
static void section_mapping() {
  DRIVER(cuMemGetAllocationGranularity); DRIVER(cuMemAddressReserve); DRIVER(cuMemAddressFree); DRIVER(cuMemCreate); DRIVER(cuMemRelease);
  DRIVER(cuMemMap); DRIVER(cuMemUnmap); DRIVER(cuMemSetAccess); CUmemAllocationProp prop = {}; prop.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  prop.location.type = CU_MEM_LOCATION_TYPE_DEVICE, prop.location.id = 0; CUmemAccessDesc access = {};
  access.location = prop.location, access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE; size_t smallest = 0;
  ck_driver(cuMemGetAllocationGranularity_(&smallest, &prop, CU_MEM_ALLOC_GRANULARITY_MINIMUM), "granularity");
  emit("granule_bytes", (double)smallest, "B"); const size_t granule = (((2ull << 20) + smallest - 1) / smallest) * smallest;
  constexpr int kSingle = 24, kAdapter = 40, kAll = kSingle + kAdapter;  // 40: one adapter of 84 MB
  struct Times { vector<double> map, unmap, map_adapter, unmap_adapter; };
  CUdeviceptr at = 0; vector<CUmemGenericAllocationHandle> handles; std::atomic<bool> stop{false}; std::thread mapper;
  std::shared_ptr<void> undo(nullptr, [&](void*) {  // on every way out, after the mapper has ended
    cudaDeviceSynchronize(); for (int i = 0; i < kAll && at; ++i) cuMemUnmap_(at + i * granule, granule);  // refused where nothing is mapped
    for (auto h : handles) cuMemRelease_(h);
    if (at) cuMemAddressFree_(at, kAll * granule);
    cudaGetLastError();
  });
  vector<double> made; handles.reserve(kAll);
  for (int i = 0; i < kAll; ++i) {
    CUmemGenericAllocationHandle h; made.push_back(timed_us([&] { ck_driver(cuMemCreate_(&h, granule, &prop, 0), "cuMemCreate"); })); handles.push_back(h);
  }
  emit("granule_create_us", median(made), "us", text("p99 %.1f", at_share(made, 0.99)));
  ck_driver(cuMemAddressReserve_(&at, kAll * granule, granule, 0, 0), "cuMemAddressReserve");
  auto map = [&](int first, int n) {  // n granules, made accessible by one call
    for (int i = first; i < first + n; ++i) ck_driver(cuMemMap_(at + i * granule, granule, 0, handles[i], 0), "cuMemMap");
    ck_driver(cuMemSetAccess_(at + first * granule, n * granule, &access, 1), "cuMemSetAccess");
  };
  auto unmap = [&](int first, int n) { ck_driver(cuMemUnmap_(at + first * granule, n * granule), "cuMemUnmap"); };
  auto map_all = [&](Times& t) {
    for (int i = 0; i < kSingle; ++i) t.map.push_back(timed_us([&] { map(i, 1); }));
    t.map_adapter.push_back(timed_us([&] { map(kSingle, kAdapter); }));
  };
  auto unmap_all = [&](Times& t) {
    for (int i = 0; i < kSingle; ++i) t.unmap.push_back(timed_us([&] { unmap(i, 1); }));
    t.unmap_adapter.push_back(timed_us([&] { unmap(kSingle, kAdapter); }));
  };
  auto report = [&](const char* when, const Times& t) {
    auto row = [&](const char* what, const vector<double>& v) { emit(text("%s_%s_us", what, when), median(v), "us", spread(v)); };
    row("granule_map", t.map), row("granule_unmap", t.unmap);
    row("adapter_40_granules_map", t.map_adapter), row("adapter_40_granules_unmap", t.unmap_adapter);
  };
  Times alone, beside;
  for (int round = 0; round < 8; ++round) {
    map_all(alone);
    if (round == 0) { launch({nullptr, g_sms, 256}, fill_words, (uint4*)at, kAll * granule / 16, 10u); CK(cudaDeviceSynchronize()); }
    unmap_all(alone);
  }
  report("alone", alone); const size_t region = 2ull << 30, part = 64ull << 20; Memory src(region), out(1 << 20); fill(src, region, 11); Stream s;
  Graph g = captured(s, [&] {
    for (size_t i = 0; i < region / part; ++i)
      launch({s, g_sms * 4, 256}, read_direct<8, 256>, src.as<uint4>(i * part), part / 16, out.as<uint32_t>()); });
  constexpr int kReplays = 2000, kAhead = 4;
  auto replays = [&](const char* when) {
    vector<Event> ends(kReplays); vector<double> period, host; int n = 0;
    for (; n < kReplays && !late(); ++n) {
      if (n >= kAhead) CK(cudaEventSynchronize(ends[n - kAhead]));
      host.push_back(timed_us([&] { g.launch(s); })); CK(cudaEventRecord(ends[n], s));
    }
    CK(cudaStreamSynchronize(s));
    for (int i = 20; i < n; ++i) { float ms = 0; CK(cudaEventElapsedTime(&ms, ends[i - 1], ends[i])); period.push_back(ms * 1e3); }
    emit(text("replay_period_%s_us", when), median(period), "us", spread(period));
    emit(text("replay_launch_host_%s_us", when), median(host), "us", spread(host));
  };
  replays("alone"); string trouble; std::shared_ptr<void> ended(nullptr, [&](void*) { stop = true; if (mapper.joinable()) mapper.join(); });
  mapper = std::thread([&] {
    try { CK(cudaSetDevice(0)); while (!stop && !late()) map_all(beside), unmap_all(beside); } catch (const std::exception& e) { trouble = e.what(); }
  });
  replays("while_mapping"); stop = true; mapper.join(); if (!trouble.empty()) throw runtime_error("mapping beside a replay: " + trouble);
  report("beside_replay", beside);
}

// ---------------------------------------------------------------- 8: the link
static void section_link() {
  const size_t most = 83886080, region = 1ull << 30; Pinned host0(most), host1(most); Memory dev0(most), dev1(most), src(region), out(1 << 20);
  fill(dev0, most, 12); fill(dev1, most, 13); fill(src, region, 14); CK(cudaMemcpy(host0.h, dev0.h, most, cudaMemcpyDeviceToHost));
  CK(cudaMemcpy(host1.h, dev1.h, most, cudaMemcpyDeviceToHost)); Stream s0, s1, compute; Event begin, end, join;
  auto busy = [&](int n) {
    for (int i = 0; i < n; ++i) launch({compute, g_sms * 4, 256}, read_direct<8, 256>, src.as<uint4>(), region / 16, out.as<uint32_t>()); };
  auto copy = [&](int lane, bool up, size_t bytes, size_t offset) {
    char *h = (char*)(lane ? host1 : host0).h + offset, *d = (lane ? dev1 : dev0).as<char>(offset);
    CK(cudaMemcpyAsync(up ? d : h, up ? h : d, bytes, up ? cudaMemcpyHostToDevice : cudaMemcpyDeviceToHost, lane ? s1 : s0)); };
  // Microseconds of n copies; lanes 1 or 2; direction of each lane; kernels queued on the compute stream beside.
  auto run = [&](size_t bytes, int n, int lanes, bool up0, bool up1, int kernels) {
    vector<double> us; const size_t places = most / bytes;
    for (int rep = 0; rep < 6 && !(late() && rep > 1); ++rep) {
      launch({s0, 1, 1}, gate, 600); CK(cudaEventRecord(begin, s0)); CK(cudaStreamWaitEvent(s1, begin)); busy(kernels);
      for (int i = 0; i < n; ++i) { const int lane = lanes == 2 ? i & 1 : 0; copy(lane, lane ? up1 : up0, bytes, (i / lanes % places) * bytes); }
      CK(cudaEventRecord(join, s1)); CK(cudaStreamWaitEvent(s0, join)); CK(cudaEventRecord(end, s0)); CK(cudaDeviceSynchronize()); float ms = 0;
      CK(cudaEventElapsedTime(&ms, begin, end)); if (rep) us.push_back(ms * 1e3);
    }
    return median(us);
  };
  const double kernel_us = median_us(compute, 10, [&] { busy(1); });
  struct Size { const char* name; size_t bytes; int n; };
  for (const Size& z : {Size{"64kb", 65536, 96}, Size{"2.6mb", 2621440, 48}, Size{"84mb", most, 4}})
    for (bool up : {true, false})
      for (int lanes : {1, 2}) {
        if (late()) return cut("link");
        const string name = text("link_%s_%s_%dstream", up ? "h2d" : "d2h", z.name, lanes); const double us = run(z.bytes, z.n, lanes, up, up, 0);
        emit(name + "_gb_s", z.bytes * z.n / us / 1e3, "GB/s", text("%.2f us a copy", us / z.n)); const int kernels = (int)(2.5 * us / kernel_us) + 4;
        const double loaded = run(z.bytes, z.n, lanes, up, up, kernels);
        emit(name + "_busy_gb_s", z.bytes * z.n / loaded / 1e3, "GB/s", "while a compute stream reads HBM");
      }
  const double both = run(most, 4, 2, true, false, 0);
  emit("link_both_ways_84mb_gb_s", 4.0 * most / both / 1e3, "GB/s", "h2d and d2h together, bytes of both");
}

// ---------------------------------------------------------------- 9: L2 and the gather
static void section_gather() {
  constexpr int kNodes = 32, kSlabs = 128, kPieces = kSlabBytes / 8192;
  const size_t region = 8ull << 30, slabs_all = region / kSlabBytes; Memory src(region), out(1 << 20), lists(kNodes * kSlabs * (1 + kPieces) * 4);
  fill(src, region, 15); Stream s;
  {
    const uint32_t tiles = 20971520 / (512 * 4 * 16), passes = 64;
    const double us = median_us(s, 10, [&] {
      launch({s, g_sms * 4, 512}, read_resident, src.as<uint4>(), tiles, passes, out.as<uint32_t>()); });
    emit("read_l2_20mb_gb_s", (double)tiles * passes * 32768 / us / 1e3, "GB/s", "64 sweeps of 20 MB in one launch");
  }
  // Every node has 128 slabs of its own, none read twice in 537 MB.
  vector<uint32_t> order(slabs_all), host; std::iota(order.begin(), order.end(), 0u); std::shuffle(order.begin(), order.end(), std::mt19937(16));
  for (int i = 0; i < kNodes * kSlabs; ++i) host.push_back(order[i]);
  for (int i = 0; i < kNodes * kSlabs; ++i) for (int j = 0; j < kPieces; ++j) host.push_back(order[i] * kPieces + j);
  CK(cudaMemcpy(lists.h, host.data(), host.size() * 4, cudaMemcpyHostToDevice)); CK(cudaDeviceSynchronize());
  const uint32_t *slabs = lists.as<uint32_t>(), *pieces = slabs + kNodes * kSlabs; allow_shared(read_bulk<12, 8192>, 12 * 8192);
  auto node = [&](int way, int i) {
    uint32_t* sums = out.as<uint32_t>() + i * 256;
    if (way == 0) launch({s, 132, 1024}, gather_direct, src.as<uint4>(), slabs + i * kSlabs, (uint32_t)kSlabs, sums);
    else launch({s, 132, 256, 12 * 8192, way > 1}, read_bulk<12, 8192>, src.as<uint8_t>(), pieces + i * kSlabs * kPieces,
                (uint32_t)(kSlabs * kPieces), sums, way - 1);
  };
  const char* names[] = {"direct", "bulk", "bulk_programmatic", "bulk_programmatic_early"};
  const char* notes[] = {"a block a slab, 1024 threads", "pieces of 8 KB, 12 in flight a block", "waits, then reads", "reads, then waits"};
  uint32_t first = 0;
  for (int way = 0; way < 4; ++way) {
    if (late()) return cut("gather");
    if (way > 0 && !hopper()) { emit(text("gather_128_slabs_%s_gb_s", names[way]), NAN, "GB/s", "needs compute capability 9.0"); continue; }
    Graph g = captured(s, [&] { for (int i = 0; i < kNodes; ++i) node(way, i); }); clear(out, 1 << 20); const double us = replay_us(g, s, 20) / kNodes;
    const uint32_t sum = host_sum(out.as<uint32_t>(), kNodes * 256); if (way == 0) first = sum;
    emit(text("gather_128_slabs_%s_gb_s", names[way]), (double)kSlabs * kSlabBytes / us / 1e3, "GB/s",
         text("%.2f us a node; %s; %zu programmatic edges%s", us, notes[way], g.programmatic_edges(), sum == first ? "" : "; SUM WRONG"));
  }
}

// ---------------------------------------------------------------- 10: tickets
static void section_tickets() {
  constexpr int kNodes = 128;
  Memory planes(4 << 20), tickets(1 << 20), out(4 << 20); clear(tickets, 1 << 20); Stream s;
  for (int grid : {128, 512}) {
    double none = 0;
    for (int split : {0, 8, grid}) {
      Graph g = captured(s, [&] {
        for (int i = 0; i < kNodes; ++i)
          launch({s, grid, 128}, sum_planes, planes.as<float>(), tickets.as<uint32_t>(), out.as<float>(), (uint32_t)split); });
      const double us = replay_us(g, s, 20) / kNodes; float got = 0; CK(cudaMemcpy(&got, out.h, 4, cudaMemcpyDeviceToHost)); if (split == 0) none = us;
      emit(text("last_block_%dblocks_split%d_us", grid, split), us, "us", split == 0 ? string("a node that only writes its planes")
                      : text("ticket, fence and ordered sum add %+.2f us%s", us - none, got == split ? "" : "; SUM WRONG"));
    }
  }
  uint32_t* word = tickets.as<uint32_t>(1 << 19);
  for (int blocks : {1, 132}) {
    const int times = 1024; const double us = median_us(s, 10, [&] { launch({s, blocks, 1}, count_atomically, word, times, word + 64); });
    emit(text("atomic_same_word_%dblocks_ns", blocks), us * 1e3 / times, "ns", text("a round trip; %.2f ns between two at the word", us * 1e3 / times / blocks));
  }
}

// ---------------------------------------------------------------- 11: the host's part of a step
static void section_host() {
  constexpr int kNodes = 400, kSteps = 60;
  constexpr size_t kBytes = 16384;
  Memory words(1 << 20), table(kBytes); Pinned host(kBytes); memset(host.h, 0x5a, kBytes); clear(words, 1 << 20); Stream s;
  uint32_t* p = words.as<uint32_t>(); auto nodes_of = [&] { for (int i = 0; i < kNodes; ++i) launch({s, 1, 128}, tick, p, 0); };
  auto send = [&] { CK(cudaMemcpyAsync(table.h, host.h, kBytes, cudaMemcpyHostToDevice, s)); };
  Graph plain = captured(s, nodes_of), with_copy = captured(s, [&] { send(), nodes_of(); });
  auto step = [&](const char* name, const char* note, const function<void()>& body) {
    vector<double> call, whole;
    for (int i = 0; i < kSteps && !late(); ++i) {
      const double t0 = now_s(); body(); const double t1 = now_s(); CK(cudaStreamSynchronize(s));
      if (i >= 5) call.push_back((t1 - t0) * 1e6), whole.push_back((now_s() - t0) * 1e6);
    }
    emit(text("step_%s_host_us", name), median(call), "us", text("p99 %.1f; %s", at_share(call, 0.99), note));
    emit(text("step_%s_whole_us", name), median(whole), "us", "calls, replay of 400 nodes, synchronization");
  };
  step("replay", "graph launch alone", [&] { plain.launch(s); });
  step("copy_replay", "16 KB pinned copy, then the launch", [&] { send(), plain.launch(s); });
  step("copy_node_replay", "the copy is the graph's first node", [&] { with_copy.launch(s); }); vector<cudaGraphNode_t> nodes(kNodes);
  size_t count = kNodes; CK(cudaGraphGetNodes(plain.graph, nodes.data(), &count)); int zero = 0; uint32_t* other = p;
  for (int changed : {1, 32, 400}) {
    uint32_t turn = 0;
    step(text("set_params_%d", changed).c_str(), "kernel node parameters changed, then the launch", [&] {
      other = p + 1024 * (1 + (turn++ & 1)); void* args[] = {&other, &zero}; cudaKernelNodeParams k = {};
      k.func = (void*)tick, k.gridDim = dim3(1), k.blockDim = dim3(128), k.kernelParams = args;
      for (int i = 0; i < changed && i < (int)count; ++i) CK(cudaGraphExecKernelNodeSetParams(plain.exec, nodes[i], &k));
      plain.launch(s);
    });
  }
}

// ---------------------------------------------------------------- worker and supervisor
struct Section { const char* name; double limit_s; void (*run)(); };
static const Section kSections[] = {
    {"1 device and clocks", 10, section_device},         {"2 streaming", 20, section_streaming},
    {"3 graphs", 15, section_graphs},                    {"4 cuBLASLt GEMMs", 60, section_gemm},
    {"5 a GEMM beside a streamer", 25, section_overlap}, {"6 one slab of 131 KB", 10, section_slab},
    {"7 mapping granules", 15, section_mapping},         {"8 the host link", 15, section_link},
    {"9 L2 and the gather", 10, section_gather},         {"10 tickets", 6, section_tickets},
    {"11 the host's part of a step", 6, section_host},   {"12 clocks after", 5, [] { clocks("after"); }}};
constexpr int kSectionCount = sizeof kSections / sizeof kSections[0];
constexpr double kSoftTotal_s = 215, kHardTotal_s = 226, kGrace_s = 10, kStart_s = 40;
enum { kNoDevice = 3, kContextLost = 4 };
static int work(int from, int progress, unsigned chosen) {
  int devices = 0; const cudaError_t e = cudaGetDeviceCount(&devices);
  if (e != cudaSuccess || devices == 0) {
    printf("no usable CUDA device: %s\n", e == cudaSuccess ? "none visible" : cudaGetErrorString(e)); return kNoDevice;
  }
  int sms = 0; if (cudaDeviceGetAttribute(&sms, cudaDevAttrMultiProcessorCount, 0) == cudaSuccess && sms > 0) g_sms = sms;
  int khz = 0, bits = 0; cudaDeviceGetAttribute(&g_major, cudaDevAttrComputeCapabilityMajor, 0);
  if (!cudaDeviceGetAttribute(&khz, cudaDevAttrMemoryClockRate, 0) && !cudaDeviceGetAttribute(&bits, cudaDevAttrGlobalMemoryBusWidth, 0) && khz > 0)
    g_bus_peak_gb_s = 2.0 * khz * 1e3 * bits / 8 / 1e9;
  for (int i = from; i < kSectionCount; ++i) {
    if (!(chosen >> i & 1)) continue;
    const char mark = (char)i; if (write(progress, &mark, 1) != 1) return 1;
    const double begun = now_s(); g_deadline = min(begun + kSections[i].limit_s, g_begun + kSoftTotal_s); printf("\n%s\n", kSections[i].name);
    fflush(stdout);
    if (late()) { printf("  left out: the program's time is up\n"); continue; }
    try { kSections[i].run(); } catch (const std::exception& error) {
      printf("  FAILED: %s\n", error.what()); emit(text("section_%d_failed", i + 1), NAN, "", error.what(), false);
    }
    cudaGetLastError(); if (cudaDeviceSynchronize() != cudaSuccess) return fflush(stdout), kContextLost;
    printf("  %.1f s\n", now_s() - begun); fflush(stdout);
  }
  return 0;
}
static int supervise(vector<string> args) {
  int from = 0;
  while (from < kSectionCount && now_s() - g_begun < kSoftTotal_s) {
    int pipes[2]; if (pipe(pipes)) return perror("pipe"), 1;
    fflush(stdout); const pid_t child = fork(); if (child < 0) return perror("fork"), 1;
    if (child == 0) {
      close(pipes[0]); prctl(PR_SET_PDEATHSIG, SIGKILL); vector<string> own = args;
      own.insert(own.end(), {"--worker", text("%d", from), text("%d", pipes[1]), text("%.6f", g_begun)}); vector<char*> argv;
      for (auto& a : own) argv.push_back(a.data());
      argv.push_back(nullptr); execv("/proc/self/exe", argv.data()); _exit(127);
    }
    close(pipes[1]); int current = from, status = 0; bool timed_out = false; double limit = now_s() + kStart_s;
    for (;;) {
      const double left = min(limit, g_begun + kHardTotal_s) - now_s(); pollfd p = {pipes[0], POLLIN, 0};
      const int ready = left > 0 ? poll(&p, 1, (int)(left * 1e3) + 1) : 0; if (ready < 0 && errno == EINTR) continue;
      if (ready <= 0) { timed_out = true; break; }
      char mark; if (read(pipes[0], &mark, 1) != 1) break;  // the worker has ended
      current = mark; limit = now_s() + kSections[current].limit_s + kGrace_s;
    }
    close(pipes[0]); if (timed_out) kill(child, SIGKILL);
    bool ended = false; for (int i = 0; i < 160 && !ended; ++i) if (!(ended = waitpid(child, &status, WNOHANG) == child)) usleep(50000);
    if (!ended) return printf("\nthe worker does not end: giving up\n"), 2;
    if (timed_out) printf("\n  ENDED: section %s ran past its limit\n", kSections[current].name);
    else if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return 0;
    else if (WIFEXITED(status) && WEXITSTATUS(status) == kNoDevice) return kNoDevice;
    else if (WIFEXITED(status) && WEXITSTATUS(status) == kContextLost) printf("  the context is lost: a fresh worker goes on\n");
    else printf("\n  the worker ended in section %s (status %d)\n", kSections[current].name, status);
    from = current + 1;
  }
  return 1;
}
int main(int argc, char** argv) {
  vector<string> args(argv, argv + argc); string out; unsigned chosen = ~0u; int from = -1, progress = -1; g_begun = now_s();
  for (int i = 1; i < argc; ++i) {
    if (args[i] == "--out" && i + 1 < argc) out = args[++i];
    else if (args[i] == "--cublaslt" && i + 1 < argc) Lt::path() = args[++i];
    else if (args[i] == "--only" && i + 1 < argc) chosen = 1u << ((atoi(argv[++i]) - 1) & 31);
    else if (args[i] == "--worker" && i + 3 < argc) {
      from = atoi(argv[i + 1]), progress = atoi(argv[i + 2]), g_begun = atof(argv[i + 3]); i += 3;
    } else { fprintf(stderr, "usage: gpu_probe [--out FILE] [--cublaslt LIBRARY] [--only SECTION]\n"); return 64; }
  }
  if (!out.empty() && !(g_out = fopen(out.c_str(), from < 0 ? "w" : "a"))) return perror(out.c_str()), 1;
  if (from >= 0) return work(from, progress, chosen);
  printf("gpu_probe: medians by events; GB is 1e9 bytes\n"); const int code = supervise(args); printf("\ntotal %.1f s\n", now_s() - g_begun); return code;
}
