// The program: options to a command, errors to one line and an exit status.
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <unistd.h>

#include <shardwise/context.hpp>
#include <shardwise/error.hpp>

#include "cli/commands.hpp"
#include "cli/job_options.hpp"
#include "cli/options.hpp"
#include "comm/communicator.hpp"
#include "comm/watch.hpp"

namespace {

using namespace shardwise;
using namespace shardwise::cli;

/// The launcher ends a job with SIGTERM when one of its ranks dies: waiting ranks then say so and end by themselves.
/// Who interrupts a second time does not want to wait for that.
void end_on(int signal) {
    std::signal(signal, [](int number) {
        if (number == SIGINT) { std::signal(SIGINT, SIG_DFL); }
        termination_requested() = true;
    });
}

/// Lets the rank that has the error say it before the launcher sees the first rank end.
void wait_for_the_message(Communicator& communicator) {
    try {
        communicator.wait(*communicator.start_agreement(std::nullopt));
    } catch (Error const&) {}  // the others are gone already
}

/// Lets the other ranks find out for themselves which rank is gone: after this one's end they would name this one, too.
void wait_for_the_others_to_see() {
    constexpr std::chrono::milliseconds kTimeToLook(300);
    std::this_thread::sleep_for(kTimeToLook);
}

void run_command(Options const& options, Context& context) {
    if (options.command == Command::export_shards) { return run_export(options, context); }
    if (options.command == Command::calibrate) { return run_calibrate(options, context); }
    run_load(options, context);
}

/// A command of all ranks: they end with the same status, and one of them says why.
int run_in_job(std::vector<std::string> const& arguments, std::vector<std::string> const& variables) {
    end_on(SIGTERM);
    end_on(SIGINT);
    auto context = Context::world();
    try {
        run_command(parse_job_options(arguments, variables, context), context);
        return EXIT_SUCCESS;
    } catch (...) {
        auto const error = current_error();
        bool const is_mine = error.rank() < 0 || error.rank() == context.rank();
        if (is_mine && context.size() == 1) { fmt::print(stderr, "shardwise: {}\n", error.what()); }
        if (is_mine && context.size() > 1) {
            fmt::print(stderr, "shardwise: rank {}: {}\n", context.rank(), error.what());
        }
        if (error.rank() >= 0 && error.code() != Errc::peer) { wait_for_the_message(context.communicator()); }
        if (error.code() == Errc::peer) { wait_for_the_others_to_see(); }
        // MPI_Finalize would wait for ranks that may be gone.
        ::_exit(error.exit_status());
    }
}

int run(Options const& options) {
    switch (options.command) {
        case Command::version: fmt::print("shardwise {}\n", SHARDWISE_VERSION); return EXIT_SUCCESS;
        case Command::inspect: run_inspect(options); return EXIT_SUCCESS;
        case Command::plan: run_plan(options); return EXIT_SUCCESS;
        case Command::verify: return run_verify(options) ? EXIT_SUCCESS : static_cast<int>(Errc::input);
        case Command::convert:
            end_on(SIGTERM);
            end_on(SIGINT);  // what has no name yet is taken away then
            run_convert(options);
            return EXIT_SUCCESS;
        case Command::load:
        case Command::calibrate:
        case Command::export_shards:
        case Command::help: fmt::print("{}", help_text(options.help_for)); return EXIT_SUCCESS;
    }
    return EXIT_SUCCESS;
}

}  // namespace

int main(int count, char** values) {
    std::vector<std::string> const arguments(values + 1, values + count);
    std::vector<std::string> variables;
    for (char** entry = environ; *entry != nullptr; ++entry) {
        if (is_option_variable(*entry)) { variables.emplace_back(*entry); }
    }
    try {
        return is_for_job(arguments) ? run_in_job(arguments, variables) : run(parse_options(arguments, variables));
    } catch (...) {
        auto const error = current_error();
        fmt::print(stderr, "shardwise: {}\n", error.what());
        return error.exit_status();
    }
}
