#include <shardwise/materialize.hpp>

#include <algorithm>

#include "exec/engine.hpp"

namespace shardwise {

Materialization::Materialization(std::unique_ptr<Engine> engine) : engine_(std::move(engine)) {}
Materialization::Materialization(Materialization&&) noexcept = default;
Materialization& Materialization::operator=(Materialization&&) noexcept = default;
Materialization::~Materialization() = default;

std::optional<HeldTensor> Materialization::next() { return engine_->next(); }
ParameterStore Materialization::wait() { return engine_->wait(); }
void Materialization::cancel() { engine_->cancel(); }
LoadReport const& Materialization::report() const noexcept { return engine_->report(); }

std::size_t ParameterStore::size() const noexcept { return data_ ? data_->tensors.size() : 0; }

HeldTensor ParameterStore::operator[](std::size_t index) const {
    return {&data_->tensors[index], data_->spans[index], data_};
}

std::optional<HeldTensor> ParameterStore::find(std::string_view name) const {
    for (std::size_t i = 0; i < size(); ++i) {
        auto const& tensor = data_->tensors[i];
        bool const is_alias = std::find(tensor.aliases.begin(), tensor.aliases.end(), name) != tensor.aliases.end();
        if (tensor.name == name || is_alias) { return (*this)[i]; }
    }
    return std::nullopt;
}

Materialization spawn_tp_materialize(Plan const& plan, Context& context, LoadOptions options) {
    return Materialization(std::make_unique<Materialization::Engine>(plan, context, std::move(options)));
}

}  // namespace shardwise
