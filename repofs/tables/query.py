"""x"""


def compiled(text, variables, array):
    return text
