// A fake router worker as a process, to try clients against a gateway without a model:
//   fake_router_worker TOKEN,TOKEN,... [MILLISECONDS A TOKEN]

#include <csignal>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "gateway/testing/fake_router_worker.h"

int main(int argc, char** argv) {
  using switchyard::gateway::testing::FakeBehaviour;
  if (argc < 2) {
    std::cerr << "usage: fake_router_worker TOKEN,TOKEN,... [MILLISECONDS A TOKEN]\n";
    return 2;
  }
  FakeBehaviour behaviour;
  for (const std::string& token : std::vector<std::string>(absl::StrSplit(argv[1], ','))) {
    int32_t id = 0;
    if (!absl::SimpleAtoi(token, &id)) return 2;
    behaviour.script.push_back(id);
  }
  if (argc > 2) behaviour.token_delay = std::chrono::milliseconds(std::atoi(argv[2]));
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  switchyard::gateway::testing::FakeRouterWorker worker(behaviour);
  std::cout << worker.address() << std::endl;
  int signal = 0;
  sigwait(&signals, &signal);
}
