#include "gateway/testing/http_test_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/base/check.h"

namespace switchyard::gateway::testing {

std::vector<std::string> TestResponse::Events() const {
  std::vector<std::string> events;
  for (const std::string& line :
       std::vector<std::string>(absl::StrSplit(body, "\n\n", absl::SkipEmpty()))) {
    if (line.starts_with("data: ")) events.push_back(line.substr(6));
  }
  return events;
}

TestConnection::TestConnection(uint16_t port) : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) << port;
  const timeval timeout{.tv_sec = 10, .tv_usec = 0};
  setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
}

TestConnection::~TestConnection() { Close(); }

void TestConnection::Close() {
  if (socket_ >= 0) close(socket_);
  socket_ = -1;
}

void TestConnection::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;  // the server refused the rest
    bytes.remove_prefix(sent);
  }
}

bool TestConnection::Fill() {
  char bytes[4096];
  const ssize_t got = recv(socket_, bytes, sizeof bytes, 0);
  if (got <= 0) return false;
  buffer_.append(bytes, got);
  return true;
}

bool TestConnection::WaitFor(std::string_view text) {
  while (buffer_.find(text) == std::string::npos) {
    if (!Fill()) return false;
  }
  return true;
}

bool TestConnection::Ended() {
  while (Fill()) {
  }
  char byte;
  return recv(socket_, &byte, 1, 0) == 0 || errno == ECONNRESET;
}

TestResponse TestConnection::Receive(bool to_head) {
  TestResponse response;
  if (!WaitFor("\r\n\r\n")) return response;
  const size_t head_end = buffer_.find("\r\n\r\n");
  const std::vector<std::string> lines = absl::StrSplit(buffer_.substr(0, head_end), "\r\n");
  buffer_.erase(0, head_end + 4);
  response.status = std::atoi(lines[0].substr(9, 3).c_str());
  for (size_t i = 1; i < lines.size(); ++i) {
    const std::pair<std::string, std::string> field =
        absl::StrSplit(lines[i], absl::MaxSplits(": ", 1));
    response.headers[absl::AsciiStrToLower(field.first)] = field.second;
  }
  if (to_head) return response;
  if (response.headers.contains("content-length")) {
    const size_t size = std::strtoul(response.headers["content-length"].c_str(), nullptr, 10);
    while (buffer_.size() < size && Fill()) {
    }
    response.body = buffer_.substr(0, size);
    buffer_.erase(0, size);
    return response;
  }
  while (true) {
    while (buffer_.find("\r\n") == std::string::npos && Fill()) {
    }
    const size_t line_end = buffer_.find("\r\n");
    if (line_end == std::string::npos) return response;
    const size_t size = std::strtoul(buffer_.c_str(), nullptr, 16);
    while (buffer_.size() < line_end + 2 + size + 2 && Fill()) {
    }
    response.body += buffer_.substr(line_end + 2, size);
    buffer_.erase(0, line_end + 2 + size + 2);
    if (size == 0) return response;
  }
}

std::string RequestText(const std::string& method, const std::string& path, const std::string& body,
                        const std::vector<std::string>& headers) {
  std::string text = absl::StrCat(method, " ", path, " HTTP/1.1\r\nHost: test\r\n");
  for (const std::string& header : headers) absl::StrAppend(&text, header, "\r\n");
  if (!body.empty()) absl::StrAppend(&text, "Content-Length: ", body.size(), "\r\n");
  return absl::StrCat(text, "\r\n", body);
}

TestResponse Fetch(uint16_t port, const std::string& method, const std::string& path,
                   const std::string& body, const std::vector<std::string>& headers) {
  TestConnection connection(port);
  connection.Send(RequestText(method, path, body, headers));
  return connection.Receive(method == "HEAD");
}

}  // namespace switchyard::gateway::testing
