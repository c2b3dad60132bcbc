"""Package metadata. Extras are imported where they are used and name themselves when missing."""

from setuptools import find_packages, setup

setup(
    name="funrecipe",
    version="0.1.0",
    description="Decode, score and fine-tune FunASR/ModelScope speech models from the shell and from Python",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["funrecipe", "funrecipe.*"]),
    package_data={
        "funrecipe": ["py.typed", *(f"**/*.{end}" for end in ("html", "j2", "txt", "tsv", "yaml", "css", "js"))],
    },
    install_requires=[
        "torch>=2.5",
        "numpy",
        "kaldiio",
        "pyyaml",
        "editdistance",
        "tqdm",
        "soundfile",
        "soxr",
        "rapidfuzz",
        "num2words",
        "greenlet",
    ],
    extras_require={
        "torchaudio": ["torchaudio"],
        "hub": ["modelscope"],
        "bpe": ["sentencepiece"],
        "report": ["jinja2", "matplotlib"],
        "opencc": ["OpenCC"],
        "tensorboard": ["tensorboard"],
        "phones": ["pypinyin"],
        "onnx": ["onnx", "onnxruntime"],
        "jieba": ["jieba"],
        "speakers": ["scikit-learn", "scipy"],
    },
    entry_points={"console_scripts": ["funrecipe = funrecipe.cli:main"]},
)
