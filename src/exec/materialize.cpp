#include <shardwise/materialize.hpp>

#include "exec/choose_device.hpp"
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

Materialization spawn_tp_materialize(Plan const& plan, Context& context, LoadOptions options) {
    auto& communicator = context.communicator();
    auto const make_backend = [&]() -> std::unique_ptr<LoadBackend> {
        if (plan.device == Device::host) { return make_host_backend(communicator); }
        return make_gpu_backend(communicator, open_own_gpu(options.gpu, communicator));
    };
    return Materialization(std::make_unique<Materialization::Engine>(plan, context, options, make_backend));
}

}  // namespace shardwise
