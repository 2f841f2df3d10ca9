// The parser of model.safetensors.index.json.
#include <string>

#include <shardwise/error.hpp>

#include "catalog/weight_map.hpp"
#include "fuzz/require.hpp"

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    using namespace shardwise;
    try {
        auto const index = parse_index({reinterpret_cast<char const*>(data), size});
        REQUIRE(!index.files.empty() && index.files.size() == index.tensors.size());
        for (std::size_t i = 0; i < index.files.size(); ++i) {
            auto const& file = index.files[i];
            REQUIRE(!file.empty() && file != "." && file != "..");
            REQUIRE(file.find('/') == std::string::npos && file.find('\0') == std::string::npos);
            REQUIRE(!index.tensors[i].empty());
        }
    } catch (Error const& error) { REQUIRE(error.code() == Errc::input); }
    return 0;
}
