# The detector's own weights, downloaded where they are not; what is there already is nobody's output.
there = "|".join(re.escape(path.name) for path in Path("weights").glob("*"))


rule weights:
    output:
        "weights/{weights}",
    log:
        "logs/weights/{weights}.log",
    wildcard_constraints:
        weights=rf"(?!(?:{there})$){OFFICIAL}",
    localrule: True
    conda:
        "../envs/gpu.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    shell:
        "python -m fastaed weights {wildcards.weights:q} 2> {log:q}"


# Frame stores -> one table of detections a clip.
rule detect:
    input:
        decoded=decoded(None, of_batch=True),
        weights=given(detector_weights),
    output:
        detections=directory("results/{dataset}/detect/{split}/{batch}"),
        manifest="results/{dataset}/detect/{split}/{batch}.json",
    log:
        "logs/{dataset}/detect/{split}/{batch}.log",
    benchmark:
        "benchmarks/{dataset}/detect/{split}/{batch}.tsv"
    conda:
        "../envs/gpu.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=growing(8000),
        runtime=growing(240),
    params:
        cfg=settings_of("detect"),
        code=code_of("detect"),
        stores=stores(None, of_batch=True),
        contents=contents_of(detector_weights),
    shell:
        "python -m fastaed detect {params.stores:q} --out {output.detections:q} "
        "--manifest {output.manifest:q} --settings {params.cfg:q} 2> {log:q}"
