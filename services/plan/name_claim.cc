#include "services/plan/name_claim.h"

#include <cctype>
#include <cmath>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"

namespace switchyard::plan {
namespace {

constexpr double kBillion = 1e9;
constexpr double kTolerance = 0.1;

// "7b" as 7e9, "8x7b" as 56e9; 0 for any other word.
double ClaimOf(const std::string& word) {
  if (word.size() < 2 || word.back() != 'b' || !std::isdigit(static_cast<unsigned char>(word[0]))) {
    return 0;
  }
  double product = kBillion;
  for (const auto piece : absl::StrSplit(word.substr(0, word.size() - 1), 'x')) {
    double factor = 0;
    if (!absl::SimpleAtod(piece, &factor) || !(factor > 0 && factor < 1e6)) return 0;
    product *= factor;
  }
  return product;
}

}  // namespace

std::string NameDisagreement(std::string_view name, int64_t parameters) {
  std::string claims;
  const auto actual = static_cast<double>(parameters);
  for (const auto piece : absl::StrSplit(std::string(name), '-')) {
    const std::string word = absl::AsciiStrToLower(piece);
    const double claim = ClaimOf(word);
    if (claim == 0) continue;
    if (std::abs(actual - claim) <= kTolerance * claim) return "";
    absl::StrAppend(&claims, claims.empty() ? "" : " or ", absl::AsciiStrToUpper(piece),
                    word.find('x') == std::string::npos
                        ? ""
                        : absl::StrCat(" = ", HumanCount(static_cast<int64_t>(claim))));
  }
  if (claims.empty()) return "";
  return absl::StrCat("the name says ", claims, ", but the tensors of this config hold ",
                      HumanCount(parameters), " parameters");
}

std::string HumanCount(int64_t count) {
  constexpr const char* kUnits[] = {"", "K", "M", "B", "T", "P"};
  auto value = static_cast<double>(count);
  size_t unit = 0;
  while (value >= 999.5 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  if (unit == 0) return absl::StrCat(count);
  return absl::StrFormat("%.*f%s", value < 10 ? 2 : 1, value, kUnits[unit]);
}

}  // namespace switchyard::plan
