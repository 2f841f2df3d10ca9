#include "cli/job_options.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <shardwise/error.hpp>

#include "comm/communicator.hpp"
#include "util/wire.hpp"

namespace shardwise::cli {
namespace {

std::vector<std::byte> encode(std::vector<std::string> const& texts) {
    WireWriter out;
    out.put<std::uint64_t>(texts.size());
    for (auto const& text : texts) { out.put(text); }
    return out.take();
}

/// Rank 0's.
std::vector<std::string> of_first_rank(std::vector<std::string> const& texts, Communicator& communicator) {
    auto const message = communicator.broadcast(encode(texts), 0);
    WireReader in(message);
    std::vector<std::string> result(in.get_count());
    for (auto& text : result) { text = in.get_text(); }
    return result;
}

}  // namespace

Options parse_job_options(std::vector<std::string> const& arguments, std::vector<std::string> const& variables,
                          Context& context) {
    auto& communicator = context.communicator();
    auto const first_arguments = of_first_rank(arguments, communicator);
    auto const first_variables = of_first_rank(variables, communicator);
    Options options;
    together(communicator, [&] {
        if (arguments != first_arguments) {
            throw Error(Errc::usage,
                        fmt::format("this rank was started as 'shardwise {}', rank 0 as 'shardwise {}': ranks of a job "
                                    "take the same arguments",
                                    fmt::join(arguments, " "), fmt::join(first_arguments, " ")));
        }
        options = parse_options(first_arguments, first_variables);
    });
    communicator.set_deadline(options.deadline_seconds);
    return options;
}

}  // namespace shardwise::cli
