#include "cli/layout_options.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <vector>

#include "cli/role_flags.h"

namespace switchyard::cli {
namespace {

// Whether a role takes these arguments; the options are as they make them.
bool Parses(std::vector<std::string> arguments, RoleOptions* options) {
  CLI::App app;
  AddRoleFlags(app, *options);
  arguments.push_back("coordinator");
  try {
    app.parse(std::move(arguments));  // the library takes them backwards; each is one word here
  } catch (const CLI::ParseError&) {
    return false;
  }
  return true;
}

TEST(LayoutOptionsTest, ARoleRefusesWhatServeRefuses) {
  for (const char* bad : {"--dtype=fp16", "--replicas=-1", "--replicas=0", "--expert-hosts=0",
                          "--threads=-1", "--stages=0", "--prefill-chunk=0", "--kv-tokens=-1"}) {
    RoleOptions options;
    EXPECT_FALSE(Parses({bad}, &options)) << bad;
    LayoutOptions layout;
    CLI::App app;
    AddLayoutFlags(app, layout);
    EXPECT_THROW(app.parse(std::vector<std::string>{bad}), CLI::ParseError) << bad;
  }
  RoleOptions options;
  EXPECT_TRUE(Parses({"--dtype=bf16", "--replicas=2", "--kv-tokens=4096"}, &options));
  EXPECT_EQ(options.dtype, "bf16");
  EXPECT_EQ(options.kv_tokens, 4096);
}

TEST(LayoutOptionsTest, TheEnvironmentSetsFlagsButAServiceLinkDoesNot) {
  setenv("SWITCHYARD_PORT", "7000", 1);
  RoleOptions options;
  EXPECT_TRUE(Parses({}, &options));
  EXPECT_EQ(options.port, 7000);
  setenv("SWITCHYARD_PORT", "tcp://10.0.0.1:8000", 1);
  options = {};
  EXPECT_TRUE(Parses({}, &options));
  EXPECT_EQ(options.port, 0);
  EXPECT_TRUE(Parses({"--port=7001"}, &options));
  EXPECT_EQ(options.port, 7001);
  unsetenv("SWITCHYARD_PORT");
}

}  // namespace
}  // namespace switchyard::cli
