#include "reference/selftest.h"

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

static enum mn_status run_on_device(struct device *device, const struct selftest_params *params)
{
    char banner[1024];
    struct kernels kernels = {0};
    struct stream stream = {0};
    device_banner(&device->caps, banner, sizeof banner);
    if (params->begin)
        params->begin(params->user, banner);
    enum mn_status status = kernels_init(&kernels, device);
    if (!status)
        status = stream_init(&stream, device, &kernels);
    if (!status)
        status = run_cases(&(struct kernel_cases_params){.device = device,
                                                         .kernels = &kernels,
                                                         .stream = &stream,
                                                         .quick = params->quick,
                                                         .report = params->report,
                                                         .user = params->user});
    if (stream.device)
        stream_finish(&stream);
    kernels_finish(&kernels);
    return status;
}

enum mn_status selftest_run(const struct selftest_params *params)
{
    struct device *device;
    enum mn_status status = device_create(
        &device, &(struct device_params){.select = params->device, .progress = params->progress}, params->log);
    if (status)
        return status;
    status = run_on_device(device, params);
    device_destroy(device);
    return status;
}
