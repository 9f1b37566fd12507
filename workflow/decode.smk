# Raw video or a folder of frames -> one frame store a clip.
rule decode:
    input:
        source=given(source_of),
        labels=truth_of,
    output:
        store=directory("results/{dataset}/decode/{split}/{clip}.zarr"),
        manifest="results/{dataset}/decode/{split}/{clip}.json",
    log:
        "logs/{dataset}/decode/{split}/{clip}.log",
    benchmark:
        "benchmarks/{dataset}/decode/{split}/{clip}.tsv"
    wildcard_constraints:
        split="train|test",
    conda:
        "../envs/media.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        cfg=settings_of("decode"),
        code=code_of("decode"),
        contents=contents_of(source_of, truth_of),
        layout=layout_of,
    shell:
        "python -m fastaed decode {input.source:q} --labels {input.labels:q} "
        "--layout {params.layout} --out {output.store:q} --manifest {output.manifest:q} --settings {params.cfg:q} 2> {log:q}"
