#include "gateway/http_request_parser.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <string>
#include <utility>

namespace switchyard::gateway {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using Error = boost::system::error_code;

constexpr std::string_view kEndOfHead = "\r\n\r\n";

std::string LowerCase(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c += 'a' - 'A';
  }
  return lower;
}

// Lines that go on in the next one, which HTTP has given up. Beast would join them without a word.
bool HasFoldedLine(std::string_view head) {
  return head.find("\n ") != std::string_view::npos || head.find("\n\t") != std::string_view::npos;
}

// A proxy in front must see the end of a body where this server sees it: no coding but chunked, and
// that neither repeated nor in HTTP/1.0.
bool HasPlainFraming(const http::request_header<>& head) {
  const size_t codings = head.count(http::field::transfer_encoding);
  return codings == 0 || (codings == 1 && head.version() == 11 &&
                          boost::beast::iequals(head[http::field::transfer_encoding], "chunked"));
}

int StatusOf(Error error) {
  if (error == http::error::header_limit || error == http::error::buffer_overflow) return 431;
  return error == http::error::body_limit ? 413 : 400;
}

}  // namespace

struct HttpRequestParser::Impl {
  http::request_parser<http::string_body> parser;

  size_t Put(std::string_view bytes, Error& error) {
    return parser.put(asio::buffer(bytes.data(), bytes.size()), error);
  }
};

HttpRequestParser::HttpRequestParser(size_t max_header_bytes, size_t max_body_bytes)
    : max_header_bytes_(max_header_bytes), impl_(std::make_unique<Impl>()) {
  impl_->parser.header_limit(static_cast<uint32_t>(max_header_bytes));
  impl_->parser.body_limit(max_body_bytes);
  impl_->parser.eager(false);  // it stops behind the head
}

HttpRequestParser::~HttpRequestParser() = default;

size_t HttpRequestParser::Put(std::string_view bytes) {
  return head_done() ? PutBody(bytes) : PutHead(bytes);
}

size_t HttpRequestParser::PutHead(std::string_view bytes) {
  const size_t end = bytes.find(kEndOfHead, searched_);
  if (end == std::string_view::npos) {
    if (bytes.size() > max_header_bytes_) refusal_ = 431;
    searched_ = bytes.size() - std::min(bytes.size(), kEndOfHead.size() - 1);
    return 0;
  }
  if (HasFoldedLine(bytes.substr(0, end))) {
    refusal_ = 400;
    return 0;
  }
  Error error;
  const size_t used = impl_->Put(bytes.substr(0, end + kEndOfHead.size()), error);
  if (error) {
    refusal_ = StatusOf(error);
  } else if (!head_done() || !HasPlainFraming(impl_->parser.get())) {
    refusal_ = 400;
  }
  return used;
}

size_t HttpRequestParser::PutBody(std::string_view bytes) {
  size_t used = 0;
  while (used < bytes.size() && !done()) {
    Error error;
    const size_t more = impl_->Put(bytes.substr(used), error);
    used += more;
    if (error == http::error::need_more) break;
    if (error) {
      refusal_ = StatusOf(error);
      return used;
    }
  }
  // A line of the framing that does not end: the size of a chunk, or a trailer.
  if (!done() && bytes.size() - used > max_header_bytes_) refusal_ = 431;
  return used;
}

bool HttpRequestParser::head_done() const { return impl_->parser.is_header_done(); }
bool HttpRequestParser::done() const { return impl_->parser.is_done(); }
bool HttpRequestParser::http_1_0() const { return impl_->parser.get().version() < 11; }
bool HttpRequestParser::is_head() const { return impl_->parser.get().method() == http::verb::head; }
bool HttpRequestParser::keep_alive() const { return impl_->parser.get().keep_alive(); }
size_t HttpRequestParser::body_bytes() const { return impl_->parser.get().body().size(); }

bool HttpRequestParser::expects_continue() const {
  return impl_->parser.get().count(http::field::expect) > 0;
}

HttpRequest HttpRequestParser::Head() const {
  const auto& head = impl_->parser.get();
  const std::string_view target(head.target().data(), head.target().size());
  HttpRequest request;
  request.method = std::string(head.method_string());
  request.path = std::string(target.substr(0, target.find('?')));
  for (const auto& field : head) {
    request.headers.emplace(LowerCase({field.name_string().data(), field.name_string().size()}),
                            std::string(field.value()));
  }
  return request;
}

HttpRequest HttpRequestParser::Take() {
  HttpRequest request = Head();
  request.body = std::move(impl_->parser.get().body());
  return request;
}

}  // namespace switchyard::gateway
