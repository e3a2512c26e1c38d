"""Who plays: episodes, chat formats, language models, scripted players and people."""
