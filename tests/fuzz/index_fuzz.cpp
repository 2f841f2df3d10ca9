// The parser of model.safetensors.index.json.
#include <set>
#include <string>

#include <shardwise/error.hpp>

#include "catalog/file_set.hpp"
#include "fuzz/require.hpp"

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    using namespace shardwise;
    try {
        auto const files = parse_index({reinterpret_cast<char const*>(data), size});
        std::set<std::string> names;
        REQUIRE(!files.empty());
        for (auto const& [file, tensors] : files) {
            REQUIRE(!file.empty() && file != "." && file != "..");
            REQUIRE(file.find('/') == std::string::npos && file.find('\0') == std::string::npos);
            REQUIRE(!tensors.empty());
            for (auto const& tensor : tensors) { REQUIRE(names.insert(tensor).second); }
        }
    } catch (Error const& error) { REQUIRE(error.code() == Errc::input); }
    return 0;
}
