"""Settings: every default, every override, and the one clear line for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from bus.errors import BargeinError, SettingsError
from bus.flags import flags_of
from bus.sections import SECTIONS
from bus.settings import HIDDEN, Settings, home, load

SHIPPED = Path(__file__).parent.parent / "config" / "fleet.toml"


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    return tmp_path / "fleet.toml"


def refused(fleet: Path, text: str) -> str:
    fleet.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(fleet, {})
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"{fleet}: ")
    return line.removeprefix(f"{fleet}: ")


def test_shipped_file_holds_exactly_the_defaults() -> None:
    assert load(SHIPPED, {}) == Settings(home=home({}))


def test_shipped_file_names_every_key() -> None:
    text = SHIPPED.read_text()
    for section, struct in SECTIONS.items():
        table = text.split(f"\n[{section}]\n")[1].split("\n[")[0]
        keys = [key for key in struct.__struct_fields__ if key not in HIDDEN]
        assert [line.split(" =")[0] for line in table.splitlines() if " = " in line[:30]] == keys


def test_an_empty_file_means_defaults(fleet: Path) -> None:
    fleet.write_text("")
    assert load(fleet, {}) == Settings(home=home({}))


def test_home_is_the_repository_or_what_the_environment_says(tmp_path: Path) -> None:
    assert home({}) == Path(__file__).resolve().parent.parent
    assert home({"BARGEIN_HOME": str(tmp_path)}) == tmp_path
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "fleet.toml").write_text("[stt]\nengine = 'null'\n")
    settings = load(env={"BARGEIN_HOME": str(tmp_path)})
    assert settings.stt.engine == "null"
    assert settings.run_dir == tmp_path / "var" / "run"
    assert settings.calls_dir == tmp_path / "var" / "calls"
    assert settings.log_dir == tmp_path / "var" / "log"


@pytest.mark.parametrize(
    ("word", "value"),
    [("0", False), ("false", False), ("False", False), ("1", True), ("true", True), ("TRUE", True)],
)
def test_enable_barge_in_overrides_the_file(word: str, value: bool) -> None:
    assert load(SHIPPED, {"ENABLE_BARGE_IN": word}).fleet.enable_barge_in is value


@pytest.mark.parametrize("word", ["", "no", "2", "off"])
def test_any_other_switch_is_an_error(word: str) -> None:
    with pytest.raises(
        SettingsError, match=r"^environment: ENABLE_BARGE_IN: .*allowed: 0, 1, true"
    ):
        load(SHIPPED, {"ENABLE_BARGE_IN": word})


def test_the_model_is_overridden_and_its_key_never_shown() -> None:
    env = {"LLM_URL": "https://x.example/v1", "LLM_MODEL": "big", "LLM_API_KEY": "sk-very-secret"}
    settings = load(SHIPPED, env)
    assert (settings.llm.url, settings.llm.model) == ("https://x.example/v1", "big")
    assert settings.llm.api_key.reveal() == "sk-very-secret"
    assert "very" not in repr(settings)
    assert "very" not in str(flags_of(settings, "llm"))


def test_endpoints_in_their_order_each_with_a_key_of_its_own(fleet: Path) -> None:
    fleet.write_text("[llm]\nfallbacks = [{ url = 'http://b:1/v1', model = 'm' }]\n")
    settings = load(fleet, {"LLM_API_KEY_2": "sk-very-secret"})
    names = [endpoint.name for endpoint in settings.llm.endpoints]
    assert names == ["127.0.0.1:8808/embedded", "b:1/m"]
    assert [settings.llm.key_of(n).reveal() for n in range(3)] == ["", "sk-very-secret", ""]
    assert [voice.name for voice in settings.tts.voices] == ["espeak/en-us", "espeak/en"]
    flags = flags_of(settings, "llm")
    assert flags["llm.fallbacks"] == "b:1/m"
    assert "very" not in str(flags)
    assert "very" not in repr(settings)


@pytest.mark.parametrize("variable", ["LLM_URL", "LLM_MODEL"])
def test_a_set_but_empty_variable_is_an_error(variable: str) -> None:
    with pytest.raises(SettingsError, match=rf"^environment: {variable}: .*unset it"):
        load(SHIPPED, {variable: " "})


def test_a_secret_in_the_file_is_refused(fleet: Path) -> None:
    line = refused(fleet, "[llm]\napi_key = 'sk-very-secret'\n")
    assert line.startswith("llm.api_key: ")
    assert "set LLM_API_KEY" in line
    assert "very" not in line


@pytest.mark.parametrize(
    ("text", "begins", "says"),
    [
        ("[vat]\n", "vat: no such section", "allowed: fleet, bus"),
        ("stt = 1\n", "stt: 1 (an integer) is no table", "write [stt]"),
        ("[stt]\npre_roll_ms = 1\n", "stt.pre_roll_ms: no such key", "did you mean preroll_ms?"),
        ("[stt]\nxyzzy = 1\n", "stt.xyzzy: no such key; allowed: engine, preroll_ms", "partial_ms"),
        ("[stt]\npreroll_ms = 299\n", "stt.preroll_ms: 299", "an integer from 300 to 5000"),
        ("[stt]\npreroll_ms = '400'\n", "stt.preroll_ms: '400' (a string)", "an integer"),
        ("[stt]\npreroll_ms = true\n", "stt.preroll_ms: True (a boolean)", "an integer"),
        ("[stt]\nengine = 'vosk'\n", "stt.engine: 'vosk'", '"null", "pocketsphinx"'),
        ("[audio_in]\nthreshold = 1.5\n", "audio_in.threshold: 1.5", "a number from 0.0 to 1.0"),
        ("[audio_in]\nthreshold = nan\n", "audio_in.threshold: nan", "a number from 0.0 to 1.0"),
        ("[llm]\ntoken_timeout_s = 0.0\n", "llm.token_timeout_s: 0.0", "above 0.0, up to 3600.0"),
        ("[llm]\nmodel = ''\n", "llm.model: ''", "a string of 1 to 300 characters"),
        ("[playback]\nduck_db = -10.0\n", "playback.duck_db: -10.0", "from -120.0 to -20.0"),
        ("[fleet]\nenable_barge_in = 1\n", "fleet.enable_barge_in: 1", "allowed: true, false"),
        ("[fleet]\nroster = []\n", "fleet.roster: []", "at least 1"),
        ("[fleet]\nroster = ['a b']\n", "fleet.roster: ", "a string matching"),
        ("[fleet]\nroster = ['stt', 'stt']\n", "fleet.roster: ", "name each once"),
        ("[audio_in]\nthreshold = 0.3\n", "audio_in.release_threshold: 0.35", "0.0 to 0.3"),
        ("[audio_in]\nmurmur_ms = 400\n", "audio_in.over_ms: 256 ms", "murmur_ms (400 ms)"),
        ("[cancel]\nresend_ms = 300\n", "cancel.stuck_ms: 250 ms", "cancel.resend_ms (300 ms)"),
        ("[llm]\nurl = 'ftp://x'\n", "llm.url: ", "http://"),
        ("[llm]\nurl = 'http://me:pw@x/'\n", "llm.url: ", "LLM_API_KEY"),
        ("[llm]\nfallbacks = ['http://x/']\n", "llm.fallbacks: ", "a table {url = …, model = …}"),
        (
            "[llm]\nfallbacks = [{ url = 'http://x/v1', model = 'm', api_key = 'sk-very-secret' }]\n",
            "llm.fallbacks: Object contains unknown field `api_key`",
            "at most 8",
        ),
        (
            "[llm]\nfallbacks = [{ url = 'http://me:pw@x/', model = 'm' }]\n",
            "llm.fallbacks, entry 1: url: ",
            "LLM_API_KEY_2",
        ),
        (
            "[llm]\nfallbacks = [{ url = 'http://127.0.0.1:8808/v1/', model = 'embedded' }]\n",
            "llm.fallbacks: the same model",
            "once",
        ),
        (
            "[tts]\nfallbacks = [{ engine = 'espeak', voice = 'en-us' }]\n",
            "tts.fallbacks: the same voice",
            "once",
        ),
        ("[tts]\nfallbacks = [{ engine = 'flite', voice = 'x' }]\n", "tts.fallbacks: ", "flite"),
    ],
)
def test_each_mistake_has_its_line(fleet: Path, text: str, begins: str, says: str) -> None:
    line = refused(fleet, text)
    assert line.startswith(begins)
    assert says in line
    assert "very" not in line


def test_not_toml_says_the_line(fleet: Path) -> None:
    assert "line 2" in refused(fleet, "[stt]\nengine = \n")


def test_a_missing_file_says_what_to_do(fleet: Path) -> None:
    with pytest.raises(SettingsError, match=r"no such file; restore it with `git checkout"):
        load(fleet, {})


def test_an_unreadable_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="can't be read"):
        load(tmp_path, {})


def test_whole_numbers_pass_for_numbers(fleet: Path) -> None:
    fleet.write_text("[tts]\nlead_s = 3\n")
    assert load(fleet, {}).tts.lead_s == 3.0


def test_configuration_errors_exit_78() -> None:
    assert issubclass(SettingsError, BargeinError)
    assert SettingsError.exit_code == 78


def test_flags_are_those_an_actor_reads() -> None:
    settings = load(SHIPPED, {"ENABLE_BARGE_IN": "0"})
    flags = flags_of(settings, "turn_manager")
    assert flags["fleet.enable_barge_in"] is False
    assert flags["turns.endpoint_ms"] == 600
    assert "tts.voice" not in flags
    assert len(str(flags["turns.system_prompt"])) < 64


# -- profiles ------------------------------------------------------------------------------------


def test_the_gpu_profile_goes_over_the_file_and_the_environment_over_both(tmp_path: Path) -> None:
    """As a user switches it on: one line."""
    text = SHIPPED.read_text()
    assert '\nprofile = "" ' in text
    (tmp_path / "fleet.toml").write_text(text.replace('profile = ""', 'profile = "gpu"'))
    (tmp_path / "gpu.toml").write_bytes(SHIPPED.with_name("gpu.toml").read_bytes())
    settings = load(tmp_path / "fleet.toml", {"LLM_MODEL": "other"})
    assert (settings.stt.engine, settings.stt.batch_engine) == ("nemo", "nemo")
    assert (settings.tts.engine, settings.tts.fallbacks[0].engine) == ("chatterbox", "espeak")
    assert (settings.nemo.device, settings.chatterbox.device) == ("cuda", "cuda")
    assert settings.llm.url == f"http://127.0.0.1:{settings.llama.port}/v1", "llama is run"
    assert settings.llm.model == "other"
    assert settings.stt.partial_ms == load(SHIPPED, {}).stt.partial_ms


def test_a_profile_is_checked_like_the_file(fleet: Path) -> None:
    assert refused(fleet, "[fleet]\nprofile = '../x'\n").startswith("fleet.profile: '../x'")
    line = refused(fleet, "[fleet]\nprofile = 'gup'\n")
    assert line == f'fleet.profile: there is no {fleet.parent}/gup.toml; allowed: ""'
    profile = fleet.with_name("gpu.toml")
    profile.write_text("[fleet]\nprofile = 'gpu'\n")
    assert refused(fleet, "[fleet]\nprofile = 'gup'\n").endswith('allowed: "", "gpu"')
    for text, said in (
        (profile.read_text(), "fleet.profile: a profile names no other; delete the line"),
        ("[stt]\nengin = 1\n", "stt.engin: no such key; did you mean engine?"),
    ):
        profile.write_text(text)
        fleet.write_text("[fleet]\nprofile = 'gpu'\n")
        with pytest.raises(SettingsError, match=rf"^{profile}: {said}"):
            load(fleet, {})
