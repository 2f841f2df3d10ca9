/// @file
/// The parameters a model is expected to have.
#pragma once

#include <map>
#include <optional>
#include <string>

#include <shardwise/dtype.hpp>
#include <shardwise/shape.hpp>

namespace shardwise {

/// What is known of a parameter; what is not stated is not compared.
struct ExpectedParameter {
    std::optional<DType> dtype;
    std::optional<Shape> shape;
    bool is_optional = false;  ///< some models of the family lack it
};

/// Every parameter of a model by name.
using Expectation = std::map<std::string, ExpectedParameter>;

/// What @p path states: a .safetensors file (its header alone is read), or JSON in the form of such a header,
/// {"NAME": {"dtype": "BF16", "shape": [16, 8]}, ...}, in which dtype and shape may be left out.
/// @throws Error io; Error input naming the file, the name and what was expected.
Expectation read_expectation(std::string const& path);

/// The JSON form of the same.
std::string to_json(Expectation const& expectation);

/// @param origin how errors call the text.
/// @throws Error input naming @p origin, the name and what was expected.
Expectation parse_expectation(std::string const& json, std::string const& origin);

}  // namespace shardwise
