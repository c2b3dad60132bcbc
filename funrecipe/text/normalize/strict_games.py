"""Scores of games: the words around two numbers that make them a score."""

from __future__ import annotations

import re

_CLUBS = (
    "湖人|火箭|勇士|凯尔特人|热火|公牛|马刺|雄鹿|独行侠|掘金|太阳|快船|尼克斯|篮网|"
    "曼联|曼城|切尔西|阿森纳|利物浦|热刺|皇马|巴萨|马竞|拜仁|多特|米兰|国米|尤文|尤文图斯|拉齐奥|罗马|那不勒斯|巴黎|里昂|"
    "摩纳哥|恒大|国安|申花|鲁能|上港|海港|泰山|辽宁|广东|皇家马德里|巴塞罗那|拜仁慕尼黑|多特蒙德|阿贾克斯|"
    "中国|日本|韩国|伊朗|沙特|德国|法国|英格兰|西班牙|葡萄牙|意大利|荷兰|比利时|克罗地亚|巴西|阿根廷|乌拉圭|美国|墨西哥|"
    "澳大利亚|俄罗斯|瑞典|丹麦|波兰"
)
_GAME_BEFORE = re.compile(
    rf"(?:比分[^0-9]{{0,4}}|以|[打踢战]成|战平|总分|大胜|完胜|险胜|领先|落后|不敌|[胜负平输赢]|队|{_CLUBS})$"
)
_RATIO_BEFORE = re.compile(rf"(?:比分[^0-9]{{0,4}}|血压[^0-9]{{0,4}}|{_CLUBS})$")
_GAME_AFTER = re.compile(
    rf"[的大完险]?(?:战胜|击败|大胜|完胜|险胜|战平|打败|逆转|横扫|力克|领先|落后|不敌|惜败|小胜|绝杀|淘汰|取胜|获胜|平局|{_CLUBS})"
)


def is_game(text: str, start: int, end: int) -> bool:
    """Whether ``text[start:end]``, two numbers, is a score."""
    return bool(_GAME_BEFORE.search(text[max(0, start - 8) : start]) or _GAME_AFTER.match(text, end))


def is_ratio(text: str, start: int) -> bool:
    """Whether two numbers with a slash at ``start`` are a score or a blood pressure, not a fraction."""
    return bool(_RATIO_BEFORE.search(text[max(0, start - 8) : start]))
