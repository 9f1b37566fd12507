# Phase 1: the student's encoder learns to reproduce frames.
rule pretrain:
    input:
        decoded("fitting"),
    output:
        autoencoder="results/{dataset}/pretrain/autoencoder.safetensors",
        losses="results/{dataset}/pretrain/losses.csv",
    log:
        "logs/{dataset}/pretrain.log",
    benchmark:
        "benchmarks/{dataset}/pretrain.tsv"
    conda:
        "../envs/gpu.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=growing(12000),
        runtime=growing(1440),
    params:
        cfg=settings_of("pretrain"),
        code=code_of("pretrain"),
        stores=stores("fitting"),
    shell:
        "python -m fastaed pretrain {params.stores:q} --out {output.autoencoder:q} --losses {output.losses:q} "
        "--settings {params.cfg:q} 2> {log:q}"
