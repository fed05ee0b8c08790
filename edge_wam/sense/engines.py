"""The recognisers to choose from. Apart from them: every process reads the settings, few of them listen."""

ENGINES = ("auto", "vosk", "pocketsphinx", "whisper")
