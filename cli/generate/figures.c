/* What a run took beside its tokens per second: waiting, memory, energy, clocks. What is not known is left out. */
#include <string.h>

#include "cli/common/output.h"
#include "cli/common/talk.h"
#include "cli/generate/generate.h"
#include "engine/base/system.h"

void figures_begin(struct run_figures *figures, struct mn_engine *engine, const struct mn_model_info *info)
{
    figures->engine = engine;
    figures->sensors = sensors_open(
        &(struct sensors_params){.pci = info->device_pci, .is_cpu = !strcmp(info->device_type, "cpu")});
    sensors_begin(figures->sensors);
}

void figures_end(struct run_figures *figures)
{
    struct mn_model_info info;
    mn_engine_info(figures->engine, &info);
    sensors_sample(figures->sensors);
    figures->energy = sensors_totals(figures->sensors);
    figures->device_peak_bytes = info.device_peak_bytes;
    figures->host_peak_bytes = system_peak_bytes();
}

void figures_free(struct run_figures *figures)
{
    sensors_close(figures->sensors);
    latency_free(&figures->latency);
    *figures = (struct run_figures){0};
}

void figures_json_latency(struct latency *latency)
{
    const struct latency_summary s = latency_summarise(latency);
    if (s.has_first)
        cli_json_double("ttft_ms", 1e3 * s.first_s, false);
    if (!s.has_gaps)
        return;
    cli_json_double("inter_token_p50_ms", 1e3 * s.p50_s, false);
    cli_json_double("inter_token_p95_ms", 1e3 * s.p95_s, false);
    cli_json_double("inter_token_p99_ms", 1e3 * s.p99_s, false);
}

void figures_json_device(const struct run_figures *figures, uint32_t n_new)
{
    const struct sensor_totals *e = &figures->energy;
    if (figures->device_peak_bytes)
        cli_json_u64("device_peak_bytes", figures->device_peak_bytes, false);
    if (figures->host_peak_bytes)
        cli_json_u64("host_peak_bytes", figures->host_peak_bytes, false);
    if (e->has_energy && n_new) {
        cli_json_double("energy_j", e->energy_j, false);
        cli_json_double("joules_per_token", e->energy_j / n_new, false);
        cli_json_double("power_w", e->power_w, false);
        cli_json_string("energy_source", e->energy_source, false);
    }
    if (e->has_clock) {
        cli_json_double("clock_mhz", e->clock_mhz, false);
        cli_json_string("clock_source", e->clock_source, false);
    }
}

/* Three digits, without an exponent. */
static void write_ms(FILE *notes, const char *before, double seconds)
{
    const double ms = 1e3 * seconds;
    fprintf(notes, "%s%.*f", before, ms < 10.0 ? 2 : ms < 100.0 ? 1 : 0, ms);
}

void figures_summary(struct run_figures *figures, uint32_t n_new)
{
    FILE *notes = cli_notes();
    const struct latency_summary s = latency_summarise(&figures->latency);
    const struct sensor_totals *e = &figures->energy;
    fputs("muninn: ", notes);
    if (s.has_first)
        write_ms(notes, "first token after ", s.first_s);
    if (s.has_gaps) {
        write_ms(notes, " ms, between tokens p50 ", s.p50_s);
        write_ms(notes, ", p95 ", s.p95_s);
        write_ms(notes, ", p99 ", s.p99_s);
    }
    fputs(s.has_first ? " ms, " : "", notes);
    fprintf(notes, "%.1f MB on the device", (double)figures->device_peak_bytes / 1e6);
    if (figures->host_peak_bytes)
        fprintf(notes, ", %.1f MB resident", (double)figures->host_peak_bytes / 1e6);
    if (e->has_energy && n_new)
        fprintf(notes, ", %.3g J per token at %.3g W (%s)", e->energy_j / n_new, e->power_w, e->energy_source);
    if (e->has_clock)
        fprintf(notes, ", %.0f MHz", e->clock_mhz);
    fputc('\n', notes);
}
