# The demo's footage and its own small detector: everything the project makes itself.
rule demo:
    output:
        clips=[
            path
            for split in plan_of("demo").sources.values()
            for path in split.values()
        ],
        labels=plan_of("demo").known_labels(),
        tracks=plan_of("demo").tracks().values(),
        pictures=directory("data/demo/pictures"),
    log:
        "logs/demo/demo.log",
    benchmark:
        "benchmarks/demo/demo.tsv"
    conda:
        "../envs/media.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        cfg=plan_of("demo").demo_settings(),
        code=code_of("demo"),
    shell:
        "python -m fastaed demo data/demo --pictures {output.pictures:q} --settings {params.cfg:q} 2> {log:q}"


rule detector:
    input:
        "data/demo/pictures",
    output:
        "data/demo/detector.pt",
    log:
        "logs/demo/detector.log",
    benchmark:
        "benchmarks/demo/detector.tsv"
    conda:
        "../envs/gpu.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=growing(8000),
        runtime=growing(60),
    params:
        cfg=plan_of("demo").demo_settings(),
        code=code_of("detect"),
    shell:
        "python -m fastaed detector {input:q} --out {output:q} --settings {params.cfg:q} 2> {log:q}"
