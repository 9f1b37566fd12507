# Raw videos or folders of frames -> a frame store a clip, and a list of what was decoded.
# The stores are no outputs: a clip that is as it was stays when another one of its batch changes.
rule decode:
    input:
        sources=given(sources_of),
        labels=given(truths_of),
    output:
        "results/{dataset}/decode/{split}-{batch}.json",
    log:
        "logs/{dataset}/decode/{split}-{batch}.log",
    benchmark:
        "benchmarks/{dataset}/decode/{split}-{batch}.tsv"
    wildcard_constraints:
        split="train|test",
    conda:
        "../envs/media.yaml"
    threads: 4
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
    params:
        cfg=settings_of("decode"),
        code=code_of("decode"),
        contents=contents_of(sources_of, truths_of),
        layout=layout_of,
        sources=sources_by_clip,
        labels=truths_by_clip,
    shell:
        "python -m fastaed decode {params.sources:q} --labels {params.labels:q} --layout {params.layout} "
        "--out results/{wildcards.dataset}/decode/{wildcards.split} --list {output:q} --at-once {threads} "
        "--settings {params.cfg:q} 2> {log:q}"
