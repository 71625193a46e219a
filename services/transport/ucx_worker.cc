#include "services/transport/ucx_worker.h"

#include <malloc.h>
#include <ucs/config/global_opts.h>
#include <ucs/debug/debug.h>
#include <ucs/debug/log_def.h>

#include <algorithm>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/log.h"
#include "services/base/status_macros.h"
#include "services/transport/slot_image.h"
#include "services/transport/tcp_socket.h"
#include "services/transport/ucx_status.h"

namespace switchyard::transport {
namespace {

// UCX calls the death of a peer an error; to a transport that outlives its peers it is none.
ucs_log_func_rc_t LogLikeUs(const char*, unsigned, const char*, ucs_log_level_t level,
                            const ucs_log_component_config_t*, const char* format, va_list values) {
  if (level <= UCS_LOG_LEVEL_WARN) {
    char text[512];
    vsnprintf(text, sizeof(text), format, values);
    LogWarning() << "UCX: " << text;
  }
  return UCS_LOG_FUNC_RC_STOP;
}

// What UCX keeps per process. Its signal handlers would hide crashes from their reporters; its
// memory hooks and its look-up of memory types serve devices that this backend does not use.
void ConfigureProcess() {
  static std::once_flag once;
  std::call_once(once, [] {
    for (const int signal : {SIGILL, SIGSEGV, SIGBUS, SIGFPE}) {
      // Newer versions set none by themselves, and warn of what was not set.
      struct sigaction now = {};
      sigaction(signal, nullptr, &now);
      if (now.sa_handler != SIG_DFL) ucs_debug_disable_signal(signal);
    }
    ucs_log_push_handler(&LogLikeUs);
    ucs_global_opts_set_value("MEMTYPE_CACHE", "n");
    // UCX gathers every large message in a buffer that it allocates and frees; glibc gave that
    // memory back to the kernel each time, and the page faults took a third of the round trip.
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
  });
}

struct Setting {
  const char* name;
  const char* value;
};

constexpr Setting kSettings[] = {
    // Slots are POSIX shared memory where that is among the transports, else ordinary memory.
    {"ALLOC_PRIO", "md:posix,mmap,heap"},
    // Every message is eager.
    {"RNDV_THRESH", "inf"},
    // Liveness is ours.
    {"KEEPALIVE_INTERVAL", "inf"},
};

// Of TCP: large messages in few pieces.
constexpr Setting kTcpSettings[] = {{"TX_SEG_SIZE", "64K"}, {"RX_SEG_SIZE", "256K"}};

const char* TransportsOf(UcxLanes lanes, bool cuda) {
  switch (lanes) {
    case UcxLanes::kAuto:
      return "^sysv,cma";  // both slower than posix here; all of CUDA's stay
    case UcxLanes::kSharedMemory:
      return "posix";
    case UcxLanes::kTcp:
      return cuda ? "tcp,cuda_copy,cuda_ipc" : "tcp";
  }
  return "tcp";
}

constexpr Duration kSetupTime = std::chrono::seconds(1);

struct ConfigReleaser {
  void operator()(ucp_config_t* config) const { ucp_config_release(config); }
};

}  // namespace

UcxRegion::~UcxRegion() { ucp_mem_unmap(context_, memory_); }

UcxEndpoint::~UcxEndpoint() {
  if (setup_request_ != nullptr) ucp_request_free(setup_request_);
  if (close_request_ != nullptr) ucp_request_free(close_request_);
}

absl::StatusOr<std::byte*> UcxEndpoint::Map(const std::string& key, uint64_t address) {
  if (mapped_ != nullptr) return absl::FailedPreconditionError("the endpoint has a region mapped");
  ucp_rkey_h mapped = nullptr;
  RETURN_IF_ERROR(FromUcx(ucp_ep_rkey_unpack(handle_, key.data(), &mapped), "map a peer's slots"));
  void* local = nullptr;
  const ucs_status_t status = ucp_rkey_ptr(mapped, address, &local);
  if (status != UCS_OK) {
    ucp_rkey_destroy(mapped);
    return FromUcx(status, "map a peer's slots");
  }
  mapped_ = mapped;
  return static_cast<std::byte*>(local);
}

// UCX 1.13 tells the transports of an endpoint only in print: the lane marked "am" carries
// messages, as in "lane[0]:  0:tcp/lo.0 md[0] -> md[0]/tcp/sysdev[255] am am_bw#0 wireup".
std::string UcxEndpoint::MessageTransport() const {
  char* text = nullptr;
  size_t size = 0;
  FILE* const stream = open_memstream(&text, &size);
  if (stream == nullptr) return "unknown";
  ucp_ep_print_info(handle_, stream);
  fclose(stream);
  std::string transport = "unknown";
  std::string_view lines(text, size);
  while (!lines.empty() && transport == "unknown") {
    const std::string_view line = lines.substr(0, lines.find('\n'));
    lines.remove_prefix(std::min(lines.size(), line.size() + 1));
    const size_t lane = line.find("lane[");
    if (lane == line.npos || (line.find(" am ") == line.npos && !line.ends_with(" am"))) continue;
    const size_t begin = line.find(':', line.find("]:", lane) + 2);
    const size_t end = line.find('/', begin);
    if (begin != line.npos && end != line.npos) transport = line.substr(begin + 1, end - begin - 1);
  }
  free(text);
  return transport;
}

bool UcxEndpoint::Settled() {
  if (setup_request_ == nullptr) return true;
  if (ucp_request_check_status(setup_request_) == UCS_INPROGRESS) return false;
  ucp_request_free(std::exchange(setup_request_, nullptr));
  return true;
}

bool UcxEndpoint::TryClose() {
  if (!closing_ && !Settled() && Clock::Real().Now() < setup_ends_) return false;
  if (!closing_) {
    closing_ = true;
    if (mapped_ != nullptr) ucp_rkey_destroy(std::exchange(mapped_, nullptr));
    // Without error handling UCX knows no forced close. Such an endpoint has never carried
    // anything, so there is nothing to flush.
    const ucp_request_param_t how = {
        .op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS,
        .flags = handles_errors_ ? static_cast<uint32_t>(UCP_EP_CLOSE_FLAG_FORCE) : 0};
    void* const request = ucp_ep_close_nbx(handle_, &how);
    if (UCS_PTR_IS_PTR(request)) close_request_ = request;
  }
  return close_request_ == nullptr || ucp_request_check_status(close_request_) != UCS_INPROGRESS;
}

absl::StatusOr<std::unique_ptr<UcxWorker>> UcxWorker::Start(const UcxOptions& options) {
  ConfigureProcess();
  std::unique_ptr<UcxWorker> worker(new UcxWorker(options.lanes));
  const bool cuda = options.payload_memory && options.payload_memory->cuda;
  RETURN_IF_ERROR(worker->StartContext(options.host, cuda));
  if (cuda) RETURN_IF_ERROR(worker->CheckKnowsCuda());
  RETURN_IF_ERROR(worker->StartWorker());
  return worker;
}

absl::Status UcxWorker::StartContext(const std::string& host, bool cuda) {
  ucp_config_t* read = nullptr;
  RETURN_IF_ERROR(FromUcx(ucp_config_read(nullptr, nullptr, &read), "read the configuration"));
  const std::unique_ptr<ucp_config_t, ConfigReleaser> config(read);
  const auto set = [&config](const Setting& setting) {
    ucs_status_t status = ucp_config_modify(config.get(), setting.name, setting.value);
    // Newer versions know TCP's settings by their full names only, 1.13 without the prefix only.
    if (status == UCS_ERR_INVALID_PARAM) {
      status = ucp_config_modify(config.get(), absl::StrCat("TCP_", setting.name).c_str(),
                                 setting.value);
    }
    return FromUcx(status, absl::StrCat("set ", setting.name, " to ", setting.value));
  };
  const char* const transports = TransportsOf(lanes_, cuda);
  RETURN_IF_ERROR(set({"TLS", transports}));
  for (const Setting& setting : kSettings) RETURN_IF_ERROR(set(setting));
  if (lanes_ != UcxLanes::kSharedMemory) {
    for (const Setting& setting : kTcpSettings) RETURN_IF_ERROR(set(setting));
    ASSIGN_OR_RETURN(const std::string interface, InterfaceOf(host));
    // Between machines UCX may find a faster device than the interface that has the address.
    if (lanes_ == UcxLanes::kTcp || interface == "lo") {
      RETURN_IF_ERROR(set({"NET_DEVICES", interface.c_str()}));
    }
  }
  const ucp_params_t params = {.field_mask = UCP_PARAM_FIELD_FEATURES,
                               .features = UCP_FEATURE_AM | UCP_FEATURE_RMA | UCP_FEATURE_WAKEUP};
  return FromUcx(ucp_init(&params, config.get(), &context_),
                 absl::StrCat("start with transports ", transports));
}

absl::Status UcxWorker::CheckKnowsCuda() const {
  ucp_context_attr_t attributes = {.field_mask = UCP_ATTR_FIELD_MEMORY_TYPES};
  RETURN_IF_ERROR(FromUcx(ucp_context_query(context_, &attributes), "known types of memory"));
  if ((attributes.memory_types & UCS_BIT(UCS_MEMORY_TYPE_CUDA_MANAGED)) != 0) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "the UCX that this process runs with (", ucp_get_version_string(),
      ") cannot use CUDA's memory: start the program with LD_LIBRARY_PATH naming libucx/lib of "
      "what scripts/setup --cuda installed (docs/operating.md), on a machine with the driver, or "
      "use --transport ucx"));
}

absl::Status UcxWorker::StartWorker() {
  const ucp_worker_params_t params = {
      .field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE | UCP_WORKER_PARAM_FIELD_AM_ALIGNMENT,
      .thread_mode = UCS_THREAD_MODE_SINGLE,
      .am_alignment = kImageAlignment};
  RETURN_IF_ERROR(FromUcx(ucp_worker_create(context_, &params, &worker_), "create a worker"));
  RETURN_IF_ERROR(FromUcx(ucp_worker_get_efd(worker_, &event_fd_), "event descriptor"));
  ucp_address_t* address = nullptr;
  size_t bytes = 0;
  RETURN_IF_ERROR(FromUcx(ucp_worker_get_address(worker_, &address, &bytes), "worker address"));
  address_.assign(reinterpret_cast<const char*>(address), bytes);
  ucp_worker_release_address(worker_, address);
  return absl::OkStatus();
}

UcxWorker::~UcxWorker() {
  if (worker_ != nullptr) ucp_worker_destroy(worker_);
  if (context_ != nullptr) ucp_cleanup(context_);
}

bool UcxWorker::Settle(TimePoint deadline) {
  const ucp_request_param_t how = {};
  void* const request = ucp_worker_flush_nbx(worker_, &how);
  if (!UCS_PTR_IS_PTR(request)) return true;
  while (ucp_request_check_status(request) == UCS_INPROGRESS) {
    if (Clock::Real().Now() >= deadline) return false;
    ucp_worker_progress(worker_);
  }
  ucp_request_free(request);
  return true;
}

absl::Status UcxWorker::Listen(unsigned id, ucp_am_recv_callback_t handler, void* context) {
  const ucp_am_handler_param_t params = {
      .field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_FLAGS |
                    UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG,
      .id = id,
      .flags = UCP_AM_FLAG_WHOLE_MSG,
      .cb = handler,
      .arg = context};
  return FromUcx(ucp_worker_set_am_recv_handler(worker_, &params), "message handler");
}

absl::StatusOr<std::unique_ptr<UcxRegion>> UcxWorker::Allocate(size_t bytes) {
  const std::string what = absl::StrCat("allocate ", bytes, " bytes of slots");
  const ucp_mem_map_params_t params = {
      .field_mask = UCP_MEM_MAP_PARAM_FIELD_LENGTH | UCP_MEM_MAP_PARAM_FIELD_FLAGS,
      .length = bytes,
      .flags = UCP_MEM_MAP_ALLOCATE};
  ucp_mem_h memory = nullptr;
  RETURN_IF_ERROR(FromUcx(ucp_mem_map(context_, &params, &memory), what));
  std::unique_ptr<UcxRegion> region(new UcxRegion(context_, memory));
  ucp_mem_attr_t attributes = {.field_mask = UCP_MEM_ATTR_FIELD_ADDRESS};
  RETURN_IF_ERROR(FromUcx(ucp_mem_query(memory, &attributes), what));
  region->data_ = static_cast<std::byte*>(attributes.address);
  if (reinterpret_cast<uintptr_t>(attributes.address) % kImageAlignment != 0) {
    return absl::InternalError(absl::StrCat(what, ": not aligned"));
  }
  std::memset(region->data_, 0, bytes);
  void* key = nullptr;
  size_t key_bytes = 0;
  RETURN_IF_ERROR(FromUcx(ucp_rkey_pack(context_, memory, &key, &key_bytes), what));
  region->key_.assign(static_cast<const char*>(key), key_bytes);
  ucp_rkey_buffer_release(key);
  return region;
}

absl::StatusOr<std::unique_ptr<UcxEndpoint>> UcxWorker::Connect(const std::string& worker_address) {
  std::unique_ptr<UcxEndpoint> endpoint(new UcxEndpoint);
  // With error handling UCX sends no messages through shared memory, which knows none; that suits
  // us, since there it only maps slots, and messages through it could hang on a dead peer.
  endpoint->handles_errors_ = lanes_ != UcxLanes::kSharedMemory;
  const ucp_ep_params_t params = {
      .field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE |
                    UCP_EP_PARAM_FIELD_ERR_HANDLER,
      .address = reinterpret_cast<const ucp_address_t*>(worker_address.data()),
      .err_mode =
          endpoint->handles_errors_ ? UCP_ERR_HANDLING_MODE_PEER : UCP_ERR_HANDLING_MODE_NONE,
      .err_handler = {.cb =
                          [](void* context, ucp_ep_h, ucs_status_t status) {
                            static_cast<UcxEndpoint*>(context)->failure_ =
                                FromUcx(status, "the way to the peer failed");
                          },
                      .arg = endpoint.get()}};
  RETURN_IF_ERROR(
      FromUcx(ucp_ep_create(worker_, &params, &endpoint->handle_), "reach a peer's worker"));
  if (endpoint->handles_errors_) {
    // Nothing has been sent: what this waits for is the connection.
    const ucp_request_param_t flush = {};
    void* const request = ucp_ep_flush_nbx(endpoint->handle_, &flush);
    if (UCS_PTR_IS_PTR(request)) endpoint->setup_request_ = request;
    endpoint->setup_ends_ = Clock::Real().Now() + kSetupTime;
  }
  return endpoint;
}

}  // namespace switchyard::transport
