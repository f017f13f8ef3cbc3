"""The phrases by which a text says which model wrote it, in ten languages: data for `masking`, and their compilation.

In a phrase, `<M>` is a model, `<V>` a vendor and `<N>` either, with quotes or emphasis around it; `<W m,n>` is m to n words
of the language's list, so that only what describes an assistant may stand between "I am" and the name; `<MADE>` is a word
for made; a space is white space, one line end included. A phrase begins at a word, and every name inside a match is
masked. Every repetition is bounded and no text has many readings, so that a match costs a constant wherever it is tried.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

MODEL, VENDOR, BOTH, WITHHELD = "\ue000", "\ue001", "\ue002", "\ue003"  # what stands for a name in the text searched

_LETTERS = r"[^\W\d_]"
_WORDS: dict[str, tuple[str, str]] = {  # language → (words that may stand between, words for made)
    "en": (
        (
            r"an?|the|your|one|of|and|or|very|just|only|simply|actually|currently|not|here|to|help|helpful|harmless|honest|respectful|"
            r"friendly|safe|large|small|new|latest|advanced|powerful|smart|intelligent|general|purpose|language|ai|artificial|intelligence|"
            r"machine|learning|deep|neural|chat|conversational|virtual|digital|personal|open|source|weights?|multilingual|multimodal|"
            r"generative|pre|instruction|tuned|text|based|reasoning|foundation|frontier|state|art|model|models|assistant|chatbot|bot|llm|"
            r"llms|agent|system|program|software|computer|product|instance|version|variant|member|part|family|series|that|which|who|was|is|"
            r"were|has|been|have|being|am|specifically|originally|recently|proudly|called|named|known|as"
        ),
        (
            r"made|created|developed|trained|built|designed|engineered|produced|released|fine-?tuned|programmed|powered|provided|introduced|"
            r"deployed|operated"
        ),
    ),
    "de": (
        (
            r"ein|eine|einem|einer|das|die|der|dem|den|grosses|neues|nur|kein|keine|ki|ai|sprach|sprachmodell|modell|gross|assistent|chatbot|"
            r"system|künstliche|künstlichen|intelligenz|virtueller|hilfreicher|intelligenter|digitaler|basiertes|gestütztes|namens|und|firma|"
            r"unternehmen|team|wurde|ist|basierend|auf"
        ),
        (
            rf"(?:weiter)?entwickel{_LETTERS}{{1,4}}|trainier{_LETTERS}{{1,4}}|erstell{_LETTERS}{{1,4}}|geschaffen{_LETTERS}{{0,2}}|"
            rf"erschaffen{_LETTERS}{{0,2}}|programmier{_LETTERS}{{1,4}}|gebaut{_LETTERS}{{0,2}}|konzipier{_LETTERS}{{1,4}}"
        ),
    ),
    "fr": (
        (
            r"une?|le|la|les|l|d|de|du|des|grand|grande|gros|vaste|simple|modèle|langage|langue|linguistique|ia|intelligence|artificielle|"
            r"assistante?|virtuel|virtuelle|conversationnel|conversationnelle|chatbot|agent|robot|programme|système|outil|informatique|"
            r"appelée?|nommée?|et|qui|a|ai|été|est|équipe|société|entreprise|basée?|sur"
        ),
        r"développée?|créée?|entraînée?|conçue?|formée?|fabriquée?|programmée?|proposée?",
    ),
    "es": (
        (
            r"una?|el|la|los|de|del|gran|grande|modelo|lenguaje|lengua|ia|inteligencia|artificial|asistente|virtual|conversacional|chatbot|"
            r"agente|robot|programa|sistema|herramienta|llamad[oa]|y|que|fui|fue|ha|he|sido|equipo|empresa|compañía|basad[oa]|en"
        ),
        r"desarrollad[oa]|cread[oa]|entrenad[oa]|diseñad[oa]|construid[oa]|programad[oa]|hech[oa]|ofrecid[oa]",
    ),
    "pt": (
        (
            r"uma?|o|a|os|de|do|da|grande|modelo|linguagem|língua|ia|inteligência|artificial|assistente|virtual|conversacional|chatbot|"
            r"agente|robô|programa|sistema|ferramenta|chamad[oa]|e|que|fui|foi|sido|equipe|empresa|basead[oa]|em"
        ),
        r"desenvolvid[oa]|criad[oa]|treinad[oa]|projetad[oa]|construíd[oa]|programad[oa]|feit[oa]",
    ),
    "it": (
        (
            r"un|una|uno|il|lo|la|l|di|del|grande|modello|linguaggio|linguistico|ia|ai|intelligenza|artificiale|assistente|virtuale|"
            r"conversazionale|chatbot|agente|programma|sistema|strumento|chiamat[oa]|e|che|è|stat[oa]|team|società|azienda|basat[oa]|su"
        ),
        r"sviluppat[oa]|creat[oa]|addestrat[oa]|progettat[oa]|costruit[oa]|programmat[oa]|realizzat[oa]",
    ),
    "ru": (
        (
            r"это|большая|большой|языковая|языковой|модель|модели|искусственный|искусственного|интеллект|интеллекта|ии|виртуальный|чат|бот|"
            rf"чатбот|ассистент|помощник|нейросеть|система|программа|был|была|которая|которую|который|которого|по|имени|и|компани{_LETTERS}"
            r"{1,2}|командой|фирмой|на|основе|от"
        ),
        rf"создан{_LETTERS}{{0,3}}|разработан{_LETTERS}{{0,3}}|обучен{_LETTERS}{{0,3}}",
    ),
    "zh": (
        (
            r"一个|一款|一种|一名|个|款|名|名为|叫做|叫|是|由|来自|被|基于|大型|大|大规模|语言|模型|人工智能|智能|助手|助理|聊天|机器人|对话|"
            r"的|,|公司|科技|有限|团队|旗下|集团|ai| "
        ),
        r"(?:所|自主|独立|共同)?(?:研发|开发|训练|创建|创造|推出|打造|设计|制造|构建|提供)",
    ),
}

_INSIDE = rf"[^.!?。！？\n{MODEL}-{WITHHELD}]"  # the rest of a sentence, up to a name
_SELF = r"(?:i am|i'm|i was|i have been|i've been|i remain)"
_FIRST = r"(?:i|i'm|i've|i'll|i'd|my|we)(?![^\W_])"
_ME = r"(?:i|i'm|my)(?![^\W_])"
_CLAUSE = r"(?:^[ ]{0,3}|(?<=[.!?:;,(\n\"*—])|(?<=[.!?:;,(\n\"*—] )|(?<=because )|(?<=but )|(?<=since )|(?<=that )|(?<=and )|(?<=so ))"
_BY = (
    r"by(?: the| team| people| folks| researchers| engineers| company| startup| lab| at| of| from| inventors| a| and){0,5} <V>"
    r"(?:,? and <V>| \(<V>\)|,? (?:called|named|known as) <M>)?"
)
_FROM = r"(?:model|assistant|ai|chatbot|llm|bot)s?,? <W 0,4>(?:from|at|of|by)(?: the| team at| company){0,2} <V>(?: \(<V>\))?"
_ROLE = r"(?:model|assistant|ai|chatbot|llm|bot|system|instance|family|series)s?(?![^\W_])(?!'s)"
_PERSON = (
    r"(?![ -](?:users?|fans?|expert|engineer|developer|researcher|scientist|specialist|customer|subscriber|enthusiast|team|founder|"
    r"employee|intern|lab|manager|consultant|ethicist|safety)(?![^\W_]))"
)
_ANSWER = (
    r"(?:answer|response|reply|message|text|output|content|summary|review|essay|article|story|poem|email|letter|translation|"
    r"explanation|report|document|conversation)"
)
_WROTE = r"(?:generated|answered|written|composed|drafted|authored|produced|created|provided|brought to you)"
_TAIL = rf"(?:,? \(?<V>\)?|,? <W 0,8>(?:{_ROLE}|(?:by|of|from) <V>))?[ .!*_)\"]{{0,4}}"
_OWNED = r"(?:<V>(?:'s)? )?"
_LINE = r"^[ >*_#(\[\"-]{0,6}"
_GREETING = r"(?:sure|certainly|hello|hi|hey|i|i'm|as|yes|no|of course|thank|thanks|here|okay|great|absolutely)(?![^\W_])"
_I_JA = r"(?:私|わたし|わたくし|僕|ぼく|当方)"

_PHRASES: dict[str, tuple[str, ...]] = {
    "en": (
        # I am Claude · I'm not ChatGPT · I'm powered by OpenAI's GPT-4 · my name is Claude
        (
            rf"{_SELF}(?:,| not| actually| really| in fact| indeed| just| simply| also| called| named| known as| based on| powered by|"
            rf" built on| running on| an instance of| a version of){{0,2}} {_OWNED}<M>(?!'s){_PERSON}"
        ),
        (
            rf"(?:my name is|my name's|call me|i go by|i identify as|speaking as|answering as|responding as|in my (?:role|capacity) as|"
            rf"my identity (?:as|is)|yours truly,|it's me,|it is me,|me,|myself,|i run on(?: the)?) {_OWNED}<N>(?!'s)"
        ),
        rf"you(?:'re| are)(?: now| currently)? (?:talking|chatting|speaking|interacting) (?:to|with) {_OWNED}<M>(?!'s)",
        r"this is <M>(?= speaking| here|, your |[!.] (?:how|i|what|hi|hello)(?![^\W_]))",
        rf"{_CLAUSE}<M> here(?=[,.!:\n—-]| to help)",
        r"i, <M>,",
        # as ChatGPT, I · as Claude, an AI assistant made by Anthropic, I
        rf"{_CLAUSE}as (?:<V>'s )?<M>(?:,? <W 1,10>(?:{_BY})?)?,? {_FIRST}",
        # I am (Claude,) a model trained by Google · as a model trained by Google · I am an OpenAI model
        (
            rf"(?:{_SELF}|{_CLAUSE}(?:as|being|like any|like other)|{_ME}{_INSIDE}{{0,120}} as) (?:<M>,? )?"
            rf"<W 0,13>(?:(?<=[a-z][ ,\n'-]){_BY}|{_FROM})"
        ),
        rf"{_SELF} <W 1,12>(?:called|named|known as) <M>",
        rf"{_SELF} <W 2,8>(?<!as )<M>(?=[,.!\n]|$)",
        rf"(?:{_SELF}|{_CLAUSE}(?:as|being)) <W 0,8><N>(?:'s)?[ -](?:<W 0,5>){_ROLE}{_PERSON}",
        # OpenAI trained me · my creators at Anthropic · trained by Google, I · against OpenAI's use case policy
        (
            r"<V>(?:'s (?:team|researchers|engineers))? (?:has |have |had |also |originally |who |which |that ){0,2}"
            r"(?:<MADE> (?:and )?){1,2}me(?![^\W_])"
        ),
        (
            r"my (?:creators?|makers?|developers?|trainers?|designers?|programmers|parent company|training|underlying model|base model|"
            r"knowledge|architecture)(?: here| over)?(?:,| at| by| from| is| are| was| were|:)? "
            r"(?:the )?(?:team at |folks at |people at |company )?<N>"
        ),
        (
            r"<V>,? (?:is |are )?(?:my (?:creator|maker|developer|trainer)s?|the (?:company|organi[sz]ation|team|lab) (?:that|which|who) "
            r"(?:<MADE> (?:and )?){1,2}me)(?![^\W_])"
        ),
        rf"{_CLAUSE}(?:<MADE> (?:and )?){{1,2}}by <N>, {_FIRST}",
        r"we(?: here)? at <V>",
        rf"{_ME}{_INSIDE}{{0,160}} <V>(?:'s?)? (?:use case|usage|content|safety|moderation) (?:policy|policies|guidelines)",
        # this answer was written by Claude · (Generated by GPT-4) · Model: gpt-4o
        (
            rf"(?:this|the above|the following|the preceding) {_ANSWER}(?: above| below)? (?:was|is|has been) (?:automatically |entirely )?"
            rf"{_WROTE} (?:by|with|using) <W 0,6>{_OWNED}<N>(?!'s)"
        ),
        rf"{_LINE}(?:{_ANSWER} )?(?:{_WROTE}|powered) (?:by|with|using):? {_OWNED}<N>[ .)\]*_\"]{{0,4}}$",
        (
            rf"{_LINE}(?:model|model name|author|assistant|ai model|llm|{_ANSWER} (?:by|from))[*_\"]{{0,3}}[ ]?[:=]?[ ]?{_OWNED}<M>"
            r"[ .)\]*_\",:]{0,4}$"
        ),
        # — Claude · Best regards, ChatGPT · ChatGPT: Sure, here is …
        rf"^[ \t>*_]{{0,4}}(?:—{{1,2}}|--|~)[ ]?<M>{_TAIL}(?=[ \t]{{0,4}}(?:\n[ \t]{{0,4}}\n|\s{{0,8}}\Z))",
        rf"(?<=[ .!?\n])(?:—{{1,2}}|--|~)[ ]?<M>{_TAIL}(?=\s{{0,8}}\Z)",
        rf"(?<=\n\n)-[ ]?<M>{_TAIL}(?=\s{{0,8}}\Z)",
        (
            r"(?:signed|sincerely|(?:kind |best |warm )?regards|best wishes|yours(?: (?:truly|sincerely|faithfully))?|respectfully|"
            rf"cordially|your <W 0,3>(?:assistant|ai|friend|helper|chatbot))"
            rf"(?:,|:| by|!)?[ \t]{{0,4}}\n{{0,3}}[ \t>*_—~-]{{0,4}}<M>{_TAIL}$"
        ),
        rf"(?:thanks|thank you|love|best|cheers|warmly)[,.!]?[ \t]{{0,4}}\n{{1,3}}[ \t>*_—~-]{{0,4}}<M>{_TAIL}$",
        rf"^[ \t*_#>\[(\"]{{0,6}}<M>(?: \(<V>\))?[*_\])\"]{{0,4}}[ ]?:[*_]{{0,2}}(?=[ ]?\n| {_GREETING})",
    ),
    "de": (
        r"(?:ich (?:bin|heisse)|mein name ist|man nennt mich|nennen sie mich)(?: nicht| der| die| das| hier| einfach){0,2} <M>",
        rf"als <M>,? (?:{_LETTERS}{{1,16}} )?(?:ich|mein|meine)(?![^\W_])",
        r"(?:ich bin|ich wurde|als) (?:<M>,? )?<W 0,10>(?:von|durch) <W 0,3><V>,? <W 0,4><MADE>",
        r"(?:ich bin|ich wurde|als) (?:<M>,? )?<W 1,10>(?:von|durch|aus dem hause) <W 0,3><V>",
        r"ich bin <W 1,8><M>",
        r"<V> hat mich <MADE>",
    ),
    "fr": (
        r"(?:je suis|je m'appelle|mon nom est|appelez-moi)(?: pas| aussi| simplement){0,2} <M>",
        r"(?:en tant que|moi,) <M>,? (?:je |j'|mon |ma |mes )",
        r"(?:je suis|j'ai été|en tant qu[e'])[ ]?(?:<M>,? )?<W 1,14>(?:par|de|d'[ ]?)[ ]?(?:l'[ ]?)?<W 0,4><V>",
        r"je suis <W 1,8><M>",
        r"<V> m'a <MADE>",
    ),
    "es": (
        r"(?:soy|me llamo|mi nombre es|me llaman|puedes llamarme)(?: el| la)? <M>",
        r"como <M>,? (?:yo|no puedo|puedo|no tengo|tengo|mi|mis|soy|no soy|fui|me|te)(?![^\W_])",
        r"(?:soy|fui|he sido|como) (?:<M>,? )?<W 1,14>(?:por|de|del) <W 0,4><V>",
        r"soy <W 1,8><M>",
        r"<V> me (?:ha )?(?:<MADE>|creó|entrenó|desarrolló|diseñó)",
    ),
    "pt": (
        r"(?:sou|me chamo|chamo-me|meu nome é)(?: o| a)? <M>",
        r"como (?:o )?<M>,? (?:eu|não posso|posso|não tenho|tenho|meu|minha|sou|não sou|fui|me)(?![^\W_])",
        r"(?:sou|fui|como) (?:(?:o )?<M>,? )?<W 1,14>(?:pela|pelo|por|da|do|de) <W 0,4><V>",
        r"sou <W 1,8><M>",
        r"<V> me (?:criou|treinou|desenvolveu|projetou)",
    ),
    "it": (
        r"(?:sono|mi chiamo|il mio nome è|chiamami) <M>",
        r"(?:come|in qualità di|in quanto) <M>,? (?:io|non posso|posso|non ho|ho|il mio|la mia|sono|non sono|mi)(?![^\W_])",
        r"(?:sono|come|in quanto) (?:<M>,? )?<W 1,14>(?:da|dal|dalla|di) <W 0,4><V>",
        r"sono <W 1,8><M>",
        r"<V> mi ha <MADE>",
    ),
    "ru": (
        r"(?:я|меня зовут|мое имя)(?: —| -| это| не| просто| всего лишь){0,2} <M>(?=[,.!?\n)—-]|$| —| -)",
        r"(?:как|будучи) <M>,? (?:я|мне|мой|моя|у меня)(?![^\W_])",
        r"(?:я|меня|как|будучи)(?: —| -)? (?:<M>,? )?<W 0,10><MADE>,? <W 0,3><V>",
        rf"меня (?:создал|разработал|обучил){_LETTERS}{{0,2}} <W 0,2><V>",
        rf"<V> (?:создал|разработал|обучил){_LETTERS}{{0,2}} меня",
        r"я(?: —| -)? <W 1,8><M>(?=[,.!?\n]|$)",
    ),
    "zh": (
        (
            r"(?:我|本人|本助手)(?:就|其实|只|并|也|不){0,2}(?:是|叫|名叫|名为|的名字是|的名字叫)<W 0,8>(?:<V>(?:的|旗下的)?)?<M>"
            r"(?!的?(?:用户|粉丝|员工|创始|开发者|工程师|忠实|使用者))"
        ),
        r"(?:我是|我由|我被|我来自|作为|我叫)<W 0,12>(?:<M><W 0,8>)?<V><W 0,6><MADE>(?:的<W 0,8><M>)?",
        r"(?:我是|我叫|作为)<W 0,6><V><W 0,4>的<W 1,8>(?:模型|助手|助理|机器人|人工智能)",
        r"作为<W 0,8><M><W 0,4>,?[ ]?(?:我|本)",
        r"<V><MADE>了我",
    ),
    "ja": (
        (
            rf"{_I_JA}(?:の名前)?[はがも][、, ]?{_INSIDE}{{0,24}}(?:<V>の)?<M>(?:という{_INSIDE}{{1,16}})?"
            r"(?:です|だよ|だ。|であり|で、|と申し|といい|と言い|と呼)"
        ),
        (
            rf"{_I_JA}[はがも][、, ]?(?:<M>(?:です。|という{_INSIDE}{{1,16}}、|、))?{_INSIDE}{{0,16}}<V>"
            rf"(?:社)?(?:によって|により|が|に|で|の){_INSIDE}{{0,12}}(?:開発|作成|作ら|訓練|トレーニング|学習|提供|設計|言語モデル|アシスタント)"
        ),
        (
            r"<N>(?:が開発した|の|によって開発された)?(?:大規模)?(?:言語モデル|ai(?:アシスタント|モデル)?)?として(?:、|は|の)?[ ]?"
            r"(?:私|わたし|お答え|お手伝い)"
        ),
        rf"<V>が(?:私|僕)を{_INSIDE}{{0,8}}(?:開発|作|訓練)",
    ),
    "ko": (
        rf"(?:저는|나는|제 이름은|저의 이름은) {_INSIDE}{{0,24}}<M>(?:입니다|이에요|예요|이라고|라고|이며|로서)",
        (
            rf"(?:저는|나는) (?:<M>(?:로|이며|입니다)?[., ]{{0,2}})?{_INSIDE}{{0,16}}<V>(?:에서|가|이|사가|에 의해|의)[ ]?{_INSIDE}{{0,8}}"
            r"(?:개발|훈련|만든|만들|학습|제작|언어 모델)"
        ),
    ),
}

_GAP = re.compile(r"<W (\d+),(\d+)>")
_CLASS = r"\[(?:\\.|[^\]\\])*\]"
_SPACE = re.compile(rf"({_CLASS}|\(\?<[=!](?:{_CLASS}|[^()\[])*\))| ")  # outside of character classes and look-behinds
_KINDS = {"<M>": f"[{MODEL}{BOTH}]", "<V>": f"[{VENDOR}{BOTH}]", "<N>": f"[{MODEL}{VENDOR}{BOTH}]"}


@lru_cache(maxsize=1)
def patterns(fold: Callable[[str], str]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    """(language, pattern) of every phrase, for texts in which each character was folded by `fold` and names stand as one."""
    return tuple((language, _compiled(language, phrase, fold)) for language, phrases in _PHRASES.items() for phrase in phrases)


def _compiled(language: str, phrase: str, fold: Callable[[str], str]) -> re.Pattern[str]:
    words, made = _WORDS.get(language, ("", ""))
    spaced = language not in ("zh", "ja")
    between = r"[ ,\n'-]{1,3}" if spaced else ""
    phrase = _GAP.sub(lambda gap: f"(?:(?:{words}|{made}){between}){{{gap[1]},{gap[2]}}}", phrase.replace("<MADE>", f"(?:{made})"))
    phrase = "".join(char if char.isascii() or MODEL <= char <= WITHHELD else fold(char) for char in phrase)
    phrase = _SPACE.sub(lambda found: found[1] or r"[ \t\n]{1,3}", phrase)
    for mark, kinds in _KINDS.items():
        phrase = phrase.replace(mark, rf"[\"'*_`(\[]{{0,3}}{kinds}(?:[\"*_`)\]]|'(?!s)){{0,3}}")
    return re.compile((r"(?<![^\W_])" if spaced else "") + f"(?:{phrase})", re.MULTILINE)
