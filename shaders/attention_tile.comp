#version 460
// Attention of prompts: as attention.comp, but for a tile of rows at once, which share what is loaded of keys and values,
// and over all positions: there are workgroups enough, and no splits to merge. o [rows, heads, head_pad].
// How lanes divide the work: gpu/attention_tile.glsl, cpu/attention_tile.glsl.
#extension GL_GOOGLE_include_directive : require
#include "attention.glsl"
#include "attention_tile.glsl"
