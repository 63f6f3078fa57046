#include "reference/selftest.h"

#include <stdio.h>

#include "reference/kernel_cases.h"

/* One case that fails does not hide the others: a failed check is remembered, anything else ends the test. */
static enum mn_status run_cases(const struct kernel_cases_params *params)
{
    enum mn_status status = kernel_cases_run(params, NULL);
    if (params->quick || (status && status != MN_ERR_CHECK))
        return status;
    enum mn_status independence = kernel_cases_row_independence(params, NULL);
    return independence ? independence : status;
}

struct reporter {
    const struct selftest_params *params;
    bool matrix_units;
};

static void hand_on(void *user, const struct kernel_case_result *result)
{
    const struct reporter *reporter = user;
    if (reporter->params->report)
        reporter->params->report(reporter->params->user, result, reporter->matrix_units);
}

static enum mn_status run_on_device(struct device *device, const struct selftest_params *params, bool matrix_units)
{
    struct kernels kernels = {0};
    struct stream stream = {0};
    struct reporter reporter = {params, matrix_units};
    enum mn_status status = kernels_init(&kernels, device);
    if (!status)
        status = stream_init(&stream, device, &kernels);
    if (!status)
        status = run_cases(&(struct kernel_cases_params){.device = device,
                                                         .kernels = &kernels,
                                                         .stream = &stream,
                                                         .quick = params->quick,
                                                         .matrix_units = matrix_units,
                                                         .report = hand_on,
                                                         .user = &reporter});
    if (stream.device)
        stream_finish(&stream);
    kernels_finish(&kernels);
    return status;
}

/* Why the matmuls on matrix units cannot be tested; NULL: they can. */
static const char *untested(const struct device *device, const struct selftest_params *params)
{
    if (matrix_units_lack())
        return matrix_units_lack();
    if (!device->caps.matrix_side)
        return "a device that multiplies squares of 16 or 8 f16 with sums in f32";
    return device->caps.is_cpu && params->quick ? "time: a CPU device builds such pipelines for minutes" : NULL;
}

static enum mn_status run_matrix_units(struct device *device, const struct selftest_params *params)
{
    const char *lack = untested(device, params);
    char text[256];
    if (!lack) {
        device->caps.texel_loads = false; /* which shaders/matrix knows nothing of */
        return run_on_device(device, params, true);
    }
    snprintf(text, sizeof text, "matrix units: not tested, for want of %s", lack);
    if (params->note)
        params->note(params->user, text);
    return MN_OK;
}

enum mn_status selftest_run(const struct selftest_params *params)
{
    struct device *device;
    enum mn_status status = device_create(
        &device, &(struct device_params){.select = params->device, .progress = params->progress}, params->log);
    if (status)
        return status;
    char banner[1024];
    device_banner(&device->caps, banner, sizeof banner);
    if (params->begin)
        params->begin(params->user, &(struct selftest_device){.banner = banner,
                                                              .name = device->caps.name,
                                                              .driver = device->caps.driver,
                                                              .id = device->caps.id,
                                                              .driver_version = device->caps.driver_version});
    status = run_on_device(device, params, false);
    if (!status || status == MN_ERR_CHECK) {
        const enum mn_status units = run_matrix_units(device, params);
        status = units ? units : status;
    }
    device_destroy(device);
    return status;
}
