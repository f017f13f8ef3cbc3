"""The family guard: which family a model is of, what two families share, and the sentences that refuse."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalh.errors import InputError
from evalh.judging import families as module
from evalh.judging.families import Families, Family

KNOWN = Families.load()

MODELS = {
    # as vendors, gateways, clouds and local servers write them
    "gpt-4o-2024-08-06": "gpt-4o",
    "openai:gpt-4o-mini": "gpt-4o",
    "openrouter/openai/gpt-4o": "gpt-4o",
    "chatgpt-4o-latest": "gpt-4o",
    "ft:gpt-4o-mini-2024-07-18:org::id": "gpt-4o",
    "azure/gpt-35-turbo": "gpt-3.5",
    "gpt-4": "gpt-4",
    "gpt-4-0613": "gpt-4",
    "gpt-4-32k": "gpt-4",
    "gpt-4-0125-preview": "gpt-4-turbo",
    "gpt-4-turbo-2024-04-09": "gpt-4-turbo",
    "gpt-4.1-mini-2025-04-14": "gpt-4.1",
    "o1": "o1",
    "o3-mini-2025-01-31": "o1",
    "openai/o4-mini": "o3",
    "gpt-oss:20b": "gpt-oss",
    "openai.gpt-oss-120b-1:0": "gpt-oss",
    "gpt-5-mini-2025-08-07": "gpt-5",
    "gpt-5.4-2026-03-05": "gpt-5.2",
    "gpt-5.6-sol": "gpt-5.6",
    "gpt-6-astra": "gpt-6",
    "claude-v1": "claude-1",
    "anthropic.claude-v2:1": "claude-2",
    "claude-3-haiku-20240307": "claude-3",
    "claude-3-5-sonnet-20241022": "claude-3.5",
    "us.anthropic.claude-3-5-sonnet-20241022-v2:0": "claude-3.5",
    "openrouter/anthropic/claude-3.5-sonnet:beta": "claude-3.5",
    "vertex_ai/claude-3-5-sonnet@20240620": "claude-3.5",
    "databricks-claude-3-7-sonnet": "claude-3.7",
    "claude-opus-4-20250514": "claude-4",
    "claude-opus-4-1-20250805": "claude-4",
    "anthropic:claude-sonnet-4-5-20250929": "claude-4.5",
    "claude-opus-4-7": "claude-4.6",
    "claude-sonnet-5": "claude-5",
    "claude-opus-5-5": "claude-5.5",
    "models/gemini-1.5-pro": "gemini-1.5",
    "gemini-pro": "gemini-1.0",
    "gemini-2.5-flash-preview-09-2025": "gemini-2.5",
    "gemini-3.1-pro-preview": "gemini-3",
    "google/gemma-3-27b-it": "gemma-3",
    "gemma2:9b": "gemma-2",
    "meta-llama/Llama-3.1-70B-Instruct": "llama-3.1",
    "accounts/fireworks/models/llama-v3p1-70b-instruct": "llama-3.1",
    "meta.llama3-1-70b-instruct-v1:0": "llama-3.1",
    "databricks-meta-llama-3-1-70b-instruct": "llama-3.1",
    "@cf/meta/llama-3.1-8b-instruct": "llama-3.1",
    "llama3.1:8b-instruct-q4_K_M": "llama-3.1",
    "TheBloke/Llama-2-7B-GGUF": "llama-2",
    "Qwen/Qwen2.5-72B-Instruct": "qwen-2.5",
    "vllm:Qwen/Qwen2.5-72B-Instruct": "qwen-2.5",
    "qwen3:8b": "qwen-3",
    "mistral:7b": "mistral-7b",
    "mistral:mistral-large-latest": "mistral-large",
    "deepseek-ai/DeepSeek-R1": "deepseek-r1",
    "us.deepseek.r1-v1:0": "deepseek-r1",
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B": "deepseek-r1-distill-qwen",
    "deepseek-r1:7b": "deepseek-r1-distill-qwen",
    "deepseek-ai/DeepSeek-R1-0528-Qwen3-8B": "deepseek-r1-0528-qwen3",
    "microsoft/Phi-3.5-mini-instruct": "phi-3.5",
    "phi3:mini": "phi-3",
    "xai/grok-4": "grok-3",
    "amazon.nova-pro-v1:0": "nova",
    "cohere.command-r-plus-v1:0": "command",
    "HuggingFaceH4/zephyr-7b-beta": "zephyr",
    "Mistral-7B-OpenOrca": "openorca",
    "nvidia/Llama-3.1-Nemotron-70B-Instruct": "llama-nemotron",
    "allenai/Llama-3.1-Tulu-3-70B": "tulu-3",
    # as recorded data sets write them
    "GPT-4": "gpt-4",
    "replay:GPT-4": "gpt-4",
    "ChatGPT": "gpt",
    "LLaMA2": "llama-2",
    "LLaMA-2-70B-Chat": "llama-2",
    "PaLM2": "palm-2",
    "text-bison-001": "palm-2",
    "PandaLM-7B": "pandalm",
    "bloom-7b": "bloom",
    "cerebras-gpt-6.7B": "cerebras-gpt",
    "llama-7b": "llama-1",
    "opt-7b": "opt",
    "pythia-6.9b": "pythia",
    "alpaca-7b_concise": "alpaca",
    "vicuna-13b-v1.3": "vicuna",
    "vicuna-13b-v1.5": "vicuna-1.5",
    "wizardlm-13b": "wizardlm",
    "stablelm-tuned-alpha-7b": "stablelm-tuned-alpha",
    "falcon-40b-instruct": "falcon-instruct",
    "FuseChat-Llama-3.1-8B-Instruct": "fusechat",
    "text_davinci_003": "gpt-3.5",
    "gpt4_1106_preview": "gpt-4-turbo",
    "weighted_alpaca_eval_gpt4_turbo": "gpt-4-turbo",
    "alpaca_eval_gpt4": "gpt-4",
    "gpt-3.5-turbo-0613|guided": "gpt-3.5",
    "gpt-4 (in-context classifier)": "gpt-4",
    "ROUGE-L": "program",
    "BLEURT-20": "bleurt",
    "New Human Generated": "human",
    # the simulator's
    "sim:north-1": "sim-north",
    "sim:writer": "sim-writer",
}


@pytest.mark.parametrize(("model", "family"), MODELS.items())
def test_a_model_is_of_the_family_that_its_name_says(model: str, family: str) -> None:
    """However a provider, gateway or data set writes a model, in any case, its family is found."""
    for written in (model, model.upper(), f" {model} "):
        found = KNOWN.find(written)
        assert found is not None
        assert found.name == family


@pytest.mark.parametrize(
    "model",
    [
        "support-bot-v2",
        "output_1",
        "",
        "gpt",  # no model is called that
        "opt-2-prompts",  # begins like opt-7b
        "step-2-pipeline",
        "acme/support-llama-3-8b",  # a fine-tune whose name begins with something else
        "my-claude-wrapper",
        "TeichAI/Qwen3-14B-Claude-4.5-Opus-Distill",  # two lineages, and no family that explains both
        "NousResearch/Hermes-2-Pro-Llama-3-8B",
        "gpt-4o-and-llama-3",
        "gpt-4o" * 200,
    ],
)
def test_a_name_that_says_no_family_or_two_is_unknown(model: str) -> None:
    """What the name does not settle is left to the user: a wrong guess would let a relative judge."""
    assert KNOWN.find(model) is None


@pytest.mark.parametrize(
    ("model", "vendor"),
    [
        ("claude-sonnet-9", "Anthropic"),
        ("gpt-5.99", "OpenAI"),
        ("gemini-9-pro", "Google"),
        ("llama-3.9-8b", "Meta"),
        ("qwen9:8b", "Alibaba"),
    ],
)
def test_a_version_newer_than_the_table_has_a_vendor_and_no_cutoff(model: str, vendor: str) -> None:
    """gpt-5.99 is OpenAI's, but the cutoff of gpt-5 is not its cutoff."""
    family = KNOWN.find(model)
    assert family is not None
    assert (family.vendor, family.cutoff) == (vendor, None)


def test_the_table_is_whole() -> None:
    """Every base and teacher is in the table, every pattern compiles, every cutoff says where it was published."""
    vendors = {family.vendor for family in KNOWN}
    assert len(KNOWN) >= 60
    for family in KNOWN:
        assert family.base is None or KNOWN.get(family.base), family.name
        assert all(KNOWN.get(teacher) or teacher in vendors for teacher in family.distilled_from), family.name
        assert bool(family.cutoff) == bool(family.cutoff_source), family.name
        assert module._compiled(family.match)
    assert set(KNOWN.vendors) <= vendors
    spellings = [spelling.casefold() for all_of_one in KNOWN.vendors.values() for spelling in all_of_one]
    assert len(spellings) == len(set(spellings))


def test_simulated_families_say_so_and_are_strangers_to_each_other() -> None:
    """Judges of the simulator may judge each other's systems, and no real family is marked as simulated."""
    simulated = [family for family in KNOWN if family.simulated]
    assert {family.name for family in simulated} == {"sim-north", "sim-south", "sim-east", "sim-west", "sim-writer"}
    assert all(KNOWN.shared_lineage(a, b) is None for a in simulated for b in KNOWN if a is not b)


SENTENCES = {
    ("vicuna", "gpt-4o"): "vicuna (LMSYS; base llama-1 of Meta; distilled from gpt-3.5 of OpenAI) and gpt-4o (OpenAI) "
    "share OpenAI, from which vicuna was distilled",
    ("gpt-4o", "gpt-5"): "gpt-4o (OpenAI) and gpt-5 (OpenAI) share the vendor OpenAI",
    ("gpt-4o", "gpt-4o"): "gpt-4o (OpenAI) and gpt-4o (OpenAI) are the same family",
    ("pandalm", "llama-1"): "pandalm (WeOpenML; base llama-1 of Meta; distilled from gpt-3.5 of OpenAI) and llama-1 (Meta) "
    "share llama-1 of Meta, on which pandalm is built",
    ("alpaca", "guanaco"): "alpaca (Stanford; base llama-1 of Meta; distilled from gpt-3.5 of OpenAI) and guanaco (University of "
    "Washington; base llama-1 of Meta) share llama-1 of Meta, on which both are built",
    ("codellama", "flow-judge"): None,
    ("guanaco", "hermes-3"): "guanaco (University of Washington; base llama-1 of Meta) and hermes-3 (Nous Research; base llama-3.1 of "
    "Meta) share Meta, on whose models both are built",
    ("phi-3", "falcon-instruct"): "phi-3 (Microsoft; distilled from OpenAI) and falcon-instruct (TII; base falcon of TII; distilled from "
    "gpt-3.5 of OpenAI) share OpenAI, from which both were distilled",
    ("judgelm", "gpt-4"): "judgelm (BAAI; base vicuna of LMSYS; base llama-1 of Meta; distilled from gpt-4 of OpenAI and gpt-3.5 of "
    "OpenAI) and gpt-4 (OpenAI) share gpt-4 of OpenAI, from which judgelm was distilled",
    ("smollm", "hermes-3"): "smollm (Hugging Face; distilled from mixtral of Mistral and llama-3.1 of Meta and qwen-2.5 of Alibaba) and "
    "hermes-3 (Nous Research; base llama-3.1 of Meta) share llama-3.1 of Meta, from which smollm was distilled and on which hermes-3 "
    "is built",
    ("flow-judge", "gpt-4o"): "flow-judge (Flow AI; base phi-3.5 of Microsoft; distilled from OpenAI) and gpt-4o (OpenAI) share OpenAI, "
    "from which flow-judge was distilled",
    ("claude-5", "gpt-5"): None,
    ("bloom", "alpaca"): None,
}


@pytest.mark.parametrize(("pair", "sentence"), SENTENCES.items(), ids=lambda value: "-".join(value) if isinstance(value, tuple) else "")
def test_the_sentence_names_both_lineages_and_what_they_share(pair: tuple[str, str], sentence: str | None) -> None:
    """A vendor, a base anywhere in the chain, or a teacher: each refuses, and the sentence says which it was."""
    a, b = (KNOWN.get(name) for name in pair)
    assert a is not None
    assert b is not None
    assert KNOWN.shared_lineage(a, b) == sentence


@given(st.sampled_from(list(KNOWN)), st.sampled_from(list(KNOWN)))
def test_sharing_a_lineage_goes_both_ways(a: Family, b: Family) -> None:
    """Two families share a lineage exactly when a name stands behind both, whoever is asked first."""
    behind = [{entry.split(":", 1)[1] for entry in KNOWN.lineage(family)} for family in (a, b)]
    there, back = KNOWN.shared_lineage(a, b), KNOWN.shared_lineage(b, a)
    assert bool(there) == bool(back) == bool(behind[0] & behind[1])
    assert there is None or (a.name in there and b.name in there)


def test_a_lineage_holds_vendor_bases_and_teachers() -> None:
    """The lineage of JudgeLM: BAAI, built on Vicuna and so on LLaMA, taught by GPT-4 and, through Vicuna, by GPT-3.5."""
    judgelm = KNOWN.get("JudgeLM")
    assert judgelm is not None
    assert KNOWN.lineage(judgelm) == {
        *("vendor:BAAI", "family:judgelm", "base:vicuna", "base:LMSYS", "base:llama-1", "base:Meta"),
        *("distilled:gpt-4", "distilled:gpt-3.5", "distilled:gpt-3", "distilled:OpenAI"),
    }


def test_the_guard_refuses_relatives_and_strangers_without_a_family() -> None:
    """A relative is refused with both lineages, an unknown model with the way to name it, anyone else may judge."""
    gpt, vicuna, claude = KNOWN.find("gpt-4o"), KNOWN.find("vicuna-7b"), KNOWN.find("claude-opus-5")
    assert KNOWN.guard("anthropic:claude-opus-5", claude, "support-v2", gpt) is None
    assert KNOWN.guard("openai:gpt-4o", gpt, "support-v2", vicuna) == (
        "judge 'openai:gpt-4o' may not judge system 'support-v2': gpt-4o (OpenAI) and vicuna (LMSYS; base llama-1 of Meta; "
        "distilled from gpt-3.5 of OpenAI) share OpenAI, from which vicuna was distilled"
    )
    assert KNOWN.guard("openai:gpt-4o", gpt, "support-v2", None) == (
        "the family of 'support-v2' is unknown: name it with `family = …` in the suite or add it to families in evalh.toml"
    )
    assert KNOWN.guard("vllm:ours", None, "support-v2", None) == (
        "the families of 'vllm:ours' and 'support-v2' are unknown: name them with `family = …` in the suite or add them to families in "
        "evalh.toml"
    )


def test_users_add_families_and_change_shipped_ones(tmp_path: Path) -> None:
    """[families.NAME] of evalh.toml: a base may be a model's name, a vendor any of its spellings, a pattern is optional."""
    config = tmp_path / "evalh.toml"
    config.write_text(
        '[families.acme-support]\nvendor = "Acme"\nbase = "meta-llama/Llama-3.1-8B-Instruct"\ndistilled_from = ["Open AI"]\n'
        '[families.gpt-4o]\ncutoff = "2024-01"\n',
        encoding="utf-8",
    )
    families = Families.load([config, {"families": {"acme-search": {"vendor": "google deepmind", "match": ["acme-(?:find|seek)"]}}}])
    support, search, gpt = families.find("vllm:acme-support-7b"), families.find("acme/acme-seek-2"), families.get("gpt-4o")
    assert support == Family(name="acme-support", vendor="Acme", base="llama-3.1", distilled_from=("OpenAI",))
    assert search is not None
    assert (search.name, search.vendor) == ("acme-search", "Google")
    assert gpt is not None
    assert (gpt.cutoff, gpt.vendor) == ("2024-01", "OpenAI")
    assert "from which acme-support was distilled" in str(families.shared_lineage(support, gpt))
    assert len(families) == len(KNOWN) + 2
    assert KNOWN.get("acme-support") is None


def test_pyproject_holds_families_under_tool_evalh(tmp_path: Path) -> None:
    """pyproject.toml is read under [tool.evalh], as all of the configuration is."""
    project = tmp_path / "pyproject.toml"
    project.write_text('[families.wrong]\nvendor = "x"\n[tool.evalh.families.right]\nvendor = "Acme"\n', encoding="utf-8")
    families = Families.load([project])
    assert families.get("right")
    assert families.get("wrong") is None


WRONG = {
    'base = "llama-2"': "families.acme.vendor: field required",
    'vendor = "x"\nbase = "lama-3"': "families.acme.base: no family 'lama-3'; did you mean llama-3",
    'vendor = "x"\ndistilled_from = ["nobody-1"]': "families.acme.distilled_from: no family 'nobody-1'; add [families.nobody-1]",
    'vendor = "x"\nbase = "acme"': "families.acme.base: the base of 'acme' comes round to 'acme'",
    'vendor = "x"\ncutoff = "autumn 2024"': "families.acme.cutoff: ",
    'vendor = "x"\ncutoff = 2024-10-01': "families.acme.cutoff: ",
    'vendor = "x"\ncolour = "red"': "families.acme.colour: unknown field; the fields are vendor, base",
    'vendor = "x"\nmatch = ["("]': "families.acme.match: is not a regular expression",
    'vendor = "x"\nmatch = "acme"': "families.acme.match: ",
    'vendor = "x': "is not TOML",
}


@pytest.mark.parametrize(("toml", "says"), WRONG.items())
def test_a_wrong_family_is_refused_with_file_and_field(tmp_path: Path, toml: str, says: str) -> None:
    """One line: the file, the field, what is wrong and what would be right."""
    config = tmp_path / "evalh.toml"
    config.write_text(f"[families.acme]\n{toml}\n", encoding="utf-8")
    with pytest.raises(InputError) as refused:
        Families.load([config])
    assert str(refused.value).startswith(f"{config}: ")
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_or_misshapen_file_is_refused(tmp_path: Path) -> None:
    """A path that is not there, a families that is no table, and a family that is no table."""
    with pytest.raises(InputError, match=r"nowhere\.toml: cannot be read"):
        Families.load([tmp_path / "nowhere.toml"])
    config = tmp_path / "evalh.toml"
    config.write_text("families = 3\n", encoding="utf-8")
    with pytest.raises(InputError, match="families is not a table"):
        Families.load([config])
    with pytest.raises(InputError, match=r"families\.acme: a family is a table"):
        Families.load([{"acme": "Acme"}])


@given(st.text(max_size=80))
def test_any_text_is_a_name_or_unknown(name: str) -> None:
    """Names come from files and servers: none of them makes the lookup fail, and it answers the same again."""
    found = KNOWN.find(name)
    assert found is None or isinstance(found, Family)
    assert KNOWN.find(name) is found


def test_loading_is_cheap() -> None:
    """The table loads in a few milliseconds, and its module brings in none of the heavy libraries."""
    seconds = []
    for _ in range(5):
        module._shipped.cache_clear()
        began = time.perf_counter()
        Families.load()
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.05
    script = "import json, sys; import evalh.judging.families, evalh.judging.masking; print(json.dumps(sorted(sys.modules)))"
    imported = json.loads(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)
    assert not {"openai", "anthropic", "pandas", "duckdb", "numpy", "scipy", "rich", "jinja2"} & set(imported)
