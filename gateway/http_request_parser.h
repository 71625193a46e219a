#pragma once

// One HTTP/1.1 request from the bytes of a connection; no sockets. Internal to the HTTP server.

#include <cstddef>
#include <memory>
#include <string_view>

#include "gateway/http_types.h"

namespace switchyard::gateway {

// Not thread-safe.
class HttpRequestParser {
 public:
  HttpRequestParser(size_t max_header_bytes, size_t max_body_bytes);
  ~HttpRequestParser();

  // Reads on in bytes that start where the last call stopped; returns how many it has used. It
  // stops behind the head once, so that the body is read only when the head has been accepted. The
  // rest of an unfinished line must come again, with more behind it.
  size_t Put(std::string_view bytes);

  // 0, or why the request is refused: 400, 413 or 431. Nothing may be put after that.
  int refusal() const { return refusal_; }
  bool head_done() const;
  bool done() const;

  // Of a head that is done:
  bool http_1_0() const;
  bool is_head() const;     // the method HEAD
  bool keep_alive() const;  // the client wants to go on with this connection
  bool expects_continue() const;

  size_t body_bytes() const;  // read so far

  HttpRequest Head() const;  // without the body
  HttpRequest Take();        // all of it, once it is done

 private:
  struct Impl;

  size_t PutHead(std::string_view bytes);
  size_t PutBody(std::string_view bytes);

  const size_t max_header_bytes_;
  const std::unique_ptr<Impl> impl_;
  size_t searched_ = 0;  // bytes of the head in which its end is not
  int refusal_ = 0;
};

}  // namespace switchyard::gateway
