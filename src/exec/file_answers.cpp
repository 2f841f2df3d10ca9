#include "exec/file_answers.hpp"

#include "util/wire.hpp"

namespace shardwise {
namespace {

std::vector<std::byte> encode(std::vector<FileAnswer> const& answers) {
    WireWriter out;
    for (auto const& answer : answers) {
        out.put(answer.file);
        out.put(std::string_view(reinterpret_cast<char const*>(answer.bytes.data()), answer.bytes.size()));
    }
    return out.take();
}

}  // namespace

void exchange_answers(Communicator& communicator, std::vector<FileAnswer> const& own,
                      std::function<void(std::uint64_t, std::span<std::byte const>)> const& take) {
    for (auto const& message : communicator.all_gather(encode(own))) {
        WireReader in(message);
        while (!in.is_empty()) {
            auto const file = in.get<std::uint64_t>();
            auto const text = in.get_text();
            take(file, std::as_bytes(std::span(text)));
        }
    }
}

}  // namespace shardwise
