#include "kernels/device/make_device.h"

#include <mutex>

#include "kernels/base/device_name.h"
#include "kernels/base/memory.h"
#include "kernels/cuda/loader.h"
#include "kernels/device/cpu_device.h"

namespace switchyard::kernels {

absl::StatusOr<std::unique_ptr<Device>> MakeDevice(std::string_view name, ThreadPool& pool) {
  const absl::StatusOr<DeviceName> parsed = ParseDeviceName(name);
  if (!parsed.ok()) return parsed.status();
  if (parsed->kind == DeviceKind::kCpu) return std::make_unique<CpuDevice>(pool);
  const absl::StatusOr<const CudaApi*> cuda = LoadCudaLibrary();
  if (!cuda.ok()) return cuda.status();
  absl::StatusOr<std::unique_ptr<Device>> device = (*cuda)->make_device(parsed->ordinal, pool);
  if (!device.ok()) return device.status();
  static std::once_flag once;
  std::call_once(once, [cuda] { SetMemorySource((*cuda)->unified_memory()); });
  return device;
}

}  // namespace switchyard::kernels
