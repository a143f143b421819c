// The header in C++ without mpi.h: the mean of N(1, 1) observations, alone.
#define VARIO_WITHOUT_MPI
#include <vario.h>

#include <cstdio>

int main()
{
    float mean[4] = {}, gradient[4], sigma[4];
    float *weights[] = {mean}, *gradients[] = {gradient}, *deviations[] = {sigma};
    vario_tensor tensor = {};
    tensor.name = "mean";
    tensor.dimensions = 1;
    tensor.shape[0] = 4;
    vario_settings settings;
    vario_defaults(&settings);
    settings.ess = 1000;
    settings.hessian_init = 1;
    settings.beta2 = 0.999;
    vario_optimizer *opt;
    vario_status status = vario_create_alone(&opt, &tensor, 1, weights, &settings);
    for (int step = 0; !status && step < 300; step++) {
        status = vario_sample(opt, weights);
        for (int i = 0; i < 4; i++) gradient[i] = mean[i] - 1;
        if (!status) status = vario_accumulate(opt, gradients);
        if (!status) status = vario_step(opt, 0.1 * (300 - step) / 300, nullptr);
    }
    if (!status) status = vario_mean(opt, weights);
    if (!status) status = vario_deviation(opt, deviations);
    if (status)
        std::fprintf(stderr, "%s\n", vario_error());
    else
        std::printf("%.4f +- %.4f\n", static_cast<double>(mean[0]), static_cast<double>(sigma[0]));
    vario_free(&opt);
    return status;
}
