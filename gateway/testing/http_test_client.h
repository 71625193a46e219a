#pragma once

// A plain HTTP client over a socket, for tests: sends what it is told, byte by byte, and can leave
// at any moment.

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard::gateway::testing {

struct TestResponse {
  int status = 0;                              // 0: the connection ended before an answer
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // chunks joined

  // The data of server-sent events.
  std::vector<std::string> Events() const;
};

class TestConnection {
 public:
  explicit TestConnection(uint16_t port);
  ~TestConnection();
  TestConnection(const TestConnection&) = delete;
  TestConnection& operator=(const TestConnection&) = delete;

  void Send(std::string_view bytes);
  // One answer; one to HEAD has no body, whatever its header says.
  TestResponse Receive(bool to_head = false);
  // Reads until `text` has come in; false when the connection ends or 10 s pass before.
  bool WaitFor(std::string_view text);
  bool Ended();  // waits for the end of the connection
  void Close();

 private:
  bool Fill();

  int socket_ = -1;
  std::string buffer_;
};

// The text of a request with Content-Length.
std::string RequestText(const std::string& method, const std::string& path,
                        const std::string& body = "", const std::vector<std::string>& headers = {});

TestResponse Fetch(uint16_t port, const std::string& method, const std::string& path,
                   const std::string& body = "", const std::vector<std::string>& headers = {});

}  // namespace switchyard::gateway::testing
