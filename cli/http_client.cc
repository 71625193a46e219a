#include "cli/http_client.h"

#include <curl/curl.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"

namespace switchyard::cli {
namespace {

constexpr std::string_view kDataPrefix = "data: ";
constexpr size_t kMostErrorBytes = 4096;

// One transfer; the body goes to `on_body` while the answer is a success, else it is kept.
class Transfer {
 public:
  explicit Transfer(std::function<bool(std::string_view)> on_body) : on_body_(std::move(on_body)) {}

  absl::Status Run(const HttpRequest& request);

 private:
  static size_t Write(char* data, size_t size, size_t count, void* self) {
    return static_cast<Transfer*>(self)->Take({data, size * count}) ? size * count : 0;
  }
  bool Take(std::string_view data);
  absl::Status ErrorOf(long code) const;

  CURL* curl_ = nullptr;
  std::function<bool(std::string_view)> on_body_;
  bool stopped_ = false;
  std::string error_body_;
};

bool Transfer::Take(std::string_view data) {
  long code = 0;
  curl_easy_getinfo(curl_, CURLINFO_RESPONSE_CODE, &code);
  if (code != 200) {
    error_body_.append(data.substr(0, kMostErrorBytes));
    return true;
  }
  stopped_ = !on_body_(data);
  return !stopped_;
}

absl::Status Transfer::ErrorOf(long code) const {
  std::string message = error_body_;
  const auto json = nlohmann::json::parse(error_body_, nullptr, false);
  if (json.is_object() && json.contains("error") && json["error"].is_object()) {
    message = json["error"].value("message", message);
  }
  message = absl::StrCat("HTTP ", code, ": ", message);
  return code >= 500 ? absl::UnavailableError(message) : absl::InvalidArgumentError(message);
}

absl::Status Transfer::Run(const HttpRequest& request) {
  static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (initialised != CURLE_OK) return absl::InternalError("libcurl does not start");
  const std::unique_ptr<CURL, void (*)(CURL*)> handle(curl_easy_init(), curl_easy_cleanup);
  curl_ = handle.get();
  curl_slist* list = nullptr;
  if (!request.json_body.empty()) {
    list = curl_slist_append(list, "Content-Type: application/json");
    curl_easy_setopt(curl_, CURLOPT_POSTFIELDS, request.json_body.data());
    curl_easy_setopt(curl_, CURLOPT_POSTFIELDSIZE_LARGE,
                     static_cast<curl_off_t>(request.json_body.size()));
  }
  if (!request.api_key.empty()) {
    list = curl_slist_append(list, absl::StrCat("Authorization: Bearer ", request.api_key).c_str());
  }
  const std::unique_ptr<curl_slist, void (*)(curl_slist*)> headers(list, curl_slist_free_all);
  curl_easy_setopt(curl_, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(curl_, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(curl_, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl_, CURLOPT_WRITEFUNCTION, &Transfer::Write);
  curl_easy_setopt(curl_, CURLOPT_WRITEDATA, this);
  curl_easy_setopt(
      curl_, CURLOPT_TIMEOUT_MS,
      static_cast<long>(
          std::chrono::duration_cast<std::chrono::milliseconds>(request.timeout).count()));
  const CURLcode result = curl_easy_perform(curl_);
  if (result != CURLE_OK && !stopped_) {
    return absl::UnavailableError(absl::StrCat(request.url, ": ", curl_easy_strerror(result)));
  }
  long code = 0;
  curl_easy_getinfo(curl_, CURLINFO_RESPONSE_CODE, &code);
  return code == 200 ? absl::OkStatus() : ErrorOf(code);
}

}  // namespace

absl::StatusOr<std::string> FetchHttp(const HttpRequest& request) {
  std::string body;
  Transfer transfer([&body](std::string_view data) {
    body.append(data);
    return true;
  });
  if (const absl::Status status = transfer.Run(request); !status.ok()) return status;
  return body;
}

absl::Status StreamHttp(const HttpRequest& request,
                        const std::function<bool(std::string_view)>& on_event) {
  std::string pending;
  Transfer transfer([&](std::string_view data) {
    pending.append(data);
    size_t end;
    while ((end = pending.find('\n')) != std::string::npos) {
      std::string_view line(pending.data(), end);
      if (line.ends_with('\r')) line.remove_suffix(1);
      if (line.starts_with(kDataPrefix) && !on_event(line.substr(kDataPrefix.size()))) {
        return false;
      }
      pending.erase(0, end + 1);
    }
    return true;
  });
  return transfer.Run(request);
}

}  // namespace switchyard::cli
