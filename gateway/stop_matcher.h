#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace switchyard::gateway {

// Finds the first of several stop strings in a text that comes in pieces, and withholds what may
// become one. The result does not depend on how the text is cut. Linear in the text for any stop
// strings.
class StopMatcher {
 public:
  // With `include` the stop string itself is part of the text.
  StopMatcher(std::vector<std::string> stops, bool include);

  // The text that is settled by this piece. The stop string that ends first wins; what comes after
  // it is dropped.
  std::string Append(std::string_view piece);

  // Passes a piece that must not end the text, and what was withheld before it.
  std::string Pass(std::string_view piece);

  // What was withheld, when the text ends here.
  std::string Finish();

  // The stop string that was found, or null.
  const std::string* found() const { return found_; }

 private:
  // Knuth-Morris-Pratt over one stop string.
  struct Pattern {
    std::string text;
    std::vector<size_t> border;  // longest proper prefix of text[0..i] that is also its suffix
    size_t matched = 0;          // bytes of `text` that the input ends in

    void Step(char c);
  };

  size_t LongestMatch() const;

  std::vector<Pattern> patterns_;
  const bool include_;
  std::string withheld_;
  const std::string* found_ = nullptr;
};

}  // namespace switchyard::gateway
