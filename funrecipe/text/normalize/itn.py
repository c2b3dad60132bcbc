def normalize(text: str) -> str:
    return text
