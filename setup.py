"Package metadata comes from `settings.ini`; edit it there."

from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
ini = ConfigParser(delimiters=["="], comment_prefixes=["#"])
ini.read(here / "settings.ini", encoding="utf-8")
cfg = ini["DEFAULT"]
pkg = cfg["lib_name"]
readme = here / "README.md"
DATA = {"sql": ["*.sql", "*.json"], "scheduled": ["*.ipynb", "*.toml"], "guides": ["*.ipynb"]}
HOME = {"sql": "sql", "scheduled": "scheduled", "guides": "nbs/guides"}


def lines(key: str) -> list[str]:
    return [s.strip() for s in cfg.get(key, "").splitlines() if s.strip()]


setup(
    name=pkg,
    version=cfg["version"],
    description=cfg["description"],
    author=cfg["author"],
    author_email=cfg["author_email"],
    license=cfg["license"],
    keywords=cfg["keywords"],
    python_requires=f">={cfg['min_python']}",
    long_description=readme.read_text("utf-8") if readme.exists() else "",
    long_description_content_type="text/markdown",
    packages=[*find_packages(include=[pkg, f"{pkg}.*"]), *(f"{pkg}.{d}" for d in HOME)],
    package_dir={f"{pkg}.{d}": home for d, home in HOME.items()},
    package_data={f"{pkg}.{d}": globs for d, globs in DATA.items()},
    install_requires=lines("requirements"),
    extras_require={k: lines(f"{k}_requirements") for k in ("dask", "dev", "finbert")},
    entry_points={
        "console_scripts": lines("console_scripts"),
        "nbdev": [f"{pkg}={pkg}._modidx:d"],
    },
)
